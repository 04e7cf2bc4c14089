package dialect

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// filtered is what passes of a stream that comes in pieces of a size.
func filtered(stream []byte, size int) []byte {
	var w Withholder
	var out []byte
	for p := stream; len(p) > 0; p = p[min(len(p), size):] {
		out = w.Filter(out, p[:min(len(p), size)])
	}
	return w.Rest(out)
}

func TestWithholder_LeavesWhatTheClientAskedFor(t *testing.T) {
	for name, c := range map[string]struct{ stream, want string }{
		"usage at the end": {
			"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":null}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\ndata: [DONE]\n\n",
			"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: [DONE]\n\n",
		},
		"null first":               {"data: {\"usage\" : null , \"choices\":[{}]}\n\n", "data: { \"choices\":[{}]}\n\n"},
		"null alone":               {"data: {\"usage\":null}\n\n", "data: {}\n\n"},
		"null between":             {"data: {\"id\":1 , \"usage\":null,\"choices\":[{}]}\n\n", "data: {\"id\":1 ,\"choices\":[{}]}\n\n"},
		"CR LF":                    {"data: {\"id\":1,\"usage\":null}\r\n\r\ndata: {\"choices\":[ ],\"usage\":{}}\r\n\r\n", "data: {\"id\":1}\r\n\r\n"},
		"an event with more":       {": comment\nid: 7\ndata: {\"id\":1,\"usage\":null}\nretry: 5\n\n", ": comment\nid: 7\ndata: {\"id\":1}\nretry: 5\n\n"},
		"usage beside choices":     {"data: {\"choices\":[{}],\"usage\":{\"a\":1}}\n\n", "data: {\"choices\":[{}],\"usage\":{\"a\":1}}\n\n"},
		"no choices, no usage":     {"data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n", "data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n"},
		"no choices, null usage":   {"data: {\"choices\":[],\"usage\":null}\n\n", "data: {\"choices\":[]}\n\n"},
		"the word in a text":       {"data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":null\"}}]}\n\n", "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":null\"}}]}\n\n"},
		"the word in an object":    {"data: {\"choices\":[{\"x\":{\"usage\":null}}]}\n\n", "data: {\"choices\":[{\"x\":{\"usage\":null}}]}\n\n"},
		"in a text and for real":   {"data: {\"a\":{\"usage\":null},\"usage\":null,\"b\":{\"usage\":null}}\n\n", "data: {\"a\":{\"usage\":null},\"b\":{\"usage\":null}}\n\n"},
		"several lines of data":    {"data: {\"usage\":\ndata: null}\n\n", "data: {\"usage\":\ndata: null}\n\n"},
		"no JSON":                  {"data: \"usage\n\n", "data: \"usage\n\n"},
		"an event that is cut":     {"data: {\"id\":1,\"usage\":null}\n", "data: {\"id\":1,\"usage\":null}\n"},
		"empty lines and comments": {"\n\n: OPENROUTER PROCESSING\n\n\ndata: {\"usage\":null}\n\n", "\n\n: OPENROUTER PROCESSING\n\n\ndata: {}\n\n"},
		"an error":                 {"event: error\ndata: {\"error\":{\"message\":\"usage\"}}\n\n", "event: error\ndata: {\"error\":{\"message\":\"usage\"}}\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			for size := 1; size <= len(c.stream); size++ {
				if got := filtered([]byte(c.stream), size); string(got) != c.want {
					t.Fatalf("in pieces of %d: got %q, want %q", size, got, c.want)
				}
			}
		})
	}
}

// A client that did not ask for usage has, byte for byte, what it would have had.
func TestWithholder_GivesBackTheStreamWithoutUsage(t *testing.T) {
	var asked, unasked strings.Builder
	for i := range 50 {
		fmt.Fprintf(&asked, `data: {"id":"c","choices":[{"index":0,"delta":{"content":"w%d \"usage\":null"}}],"usage":null,"obfuscation":"x"}`+"\n\n", i)
		fmt.Fprintf(&unasked, `data: {"id":"c","choices":[{"index":0,"delta":{"content":"w%d \"usage\":null"}}],"obfuscation":"x"}`+"\n\n", i)
	}
	asked.WriteString("data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\ndata: [DONE]\n\n")
	unasked.WriteString("data: [DONE]\n\n")
	for _, size := range []int{1, 7, 100, 1 << 20} {
		if got := filtered([]byte(asked.String()), size); string(got) != unasked.String() {
			t.Errorf("in pieces of %d: got %q, want %q", size, got, unasked.String())
		}
	}
}

// An event passes as soon as it is whole.
func TestWithholder_HoldsNoWholeEvent(t *testing.T) {
	var w Withholder
	event := []byte("data: {\"choices\":[{}]}\n\n")
	if got := w.Filter(nil, event[:len(event)-1]); len(got) != 0 {
		t.Errorf("got %q of an event that is not whole, want nothing", got)
	}
	if got := w.Filter(nil, event[len(event)-1:]); !bytes.Equal(got, event) {
		t.Errorf("got %q, want %q", got, event)
	}
}

func TestWithholder_HoldsLittle(t *testing.T) {
	long := "data: {\"x\":\"" + strings.Repeat("y", 3*maxWithheld) + "\"}\n\n"
	stream := long + "data: {\"id\":1,\"usage\":null}\n\n"
	want := long + "data: {\"id\":1}\n\n"
	for _, size := range []int{1000, 32 << 10, maxWithheld + 1} {
		var w Withholder
		var out []byte
		for p := []byte(stream); len(p) > 0; p = p[min(len(p), size):] {
			out = w.Filter(out, p[:min(len(p), size)])
			if cap(w.held) > 4*maxWithheld {
				t.Fatalf("got %d bytes held, want at most %d", cap(w.held), 4*maxWithheld)
			}
		}
		if got := string(w.Rest(out)); got != want {
			t.Errorf("in pieces of %d: got %d bytes, want %d", size, len(got), len(want))
		}
	}
}

// Nothing else than usage is taken out, and a stream passes alike however it is cut.
func FuzzWithholder(f *testing.F) {
	f.Add([]byte("data: {\"choices\":[],\"usage\":{}}\n\ndata: {\"usage\":null}\r\n\r\n"), uint16(3))
	f.Add([]byte("\r\n\n\r\rdata: x\n"), uint16(1))
	f.Fuzz(func(t *testing.T, stream []byte, size uint16) {
		whole := filtered(stream, max(len(stream), 1))
		if got := filtered(stream, int(size)+1); !bytes.Equal(got, whole) {
			t.Errorf("in pieces of %d: got %q, want %q", int(size)+1, got, whole)
		}
		if !bytes.Contains(stream, usageMark) && !bytes.Equal(whole, stream) {
			t.Errorf("got %q, want all of %q", whole, stream)
		}
	})
}
