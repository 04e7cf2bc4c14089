package bodies

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func TestClient_KeepsTheConnectionOnlyAfterTheWholeBody(t *testing.T) {
	for name, tc := range map[string]struct {
		length  int64 // as the request says
		most    int64 // that is drained
		version int   // of HTTP
		want    string
	}{
		"drained":           {5, 10, 1, ""},
		"too long to drain": {5, 4, 1, "close"},
		"unknown length":    {-1, 10, 1, "close"},
		"breaks off":        {9, 10, 1, "close"},
		"HTTP/2":            {-1, 10, 2, ""},
	} {
		r, w := httptest.NewRequest("POST", "/", strings.NewReader("12345")), httptest.NewRecorder()
		r.ContentLength, r.ProtoMajor = tc.length, tc.version
		if name == "breaks off" {
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader("12"), brokenReader{}))
		}
		var client Client
		var count atomic.Int64
		client.Watch(w, r, &count)
		client.Drain(r, tc.most)
		client.KeepConnection()
		if got := w.Header().Get("Connection"); got != tc.want {
			t.Errorf("%s: Connection is %q, want %q", name, got, tc.want)
		}
		if broke := name == "breaks off"; client.Broke() != broke {
			t.Errorf("%s: broke is %t, want %t", name, client.Broke(), broke)
		}
	}
}

// brokenReader is a connection that is lost.
type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestClient_CountsWhatIsRead(t *testing.T) {
	r, w := httptest.NewRequest("POST", "/", strings.NewReader("12345")), httptest.NewRecorder()
	var client Client
	var count atomic.Int64
	client.Watch(w, r, &count)
	if !client.Untouched() {
		t.Error("a body counts as read before it is")
	}
	if _, err := io.ReadFull(r.Body, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	if n := count.Load(); n != 3 || client.Untouched() {
		t.Errorf("%d bytes are counted, untouched is %t; want 3 and false", n, client.Untouched())
	}
}

func TestClient_WithoutBody(t *testing.T) {
	r, w := httptest.NewRequest("POST", "/", nil), httptest.NewRecorder()
	var client Client
	client.Watch(w, r, new(atomic.Int64))
	client.Drain(r, 10)
	client.KeepConnection()
	client.Stop()
	if got := w.Header().Get("Connection"); got != "" {
		t.Errorf("Connection is %q, want none", got)
	}
}

func TestBody_OutgoingHoldsAllOfIt(t *testing.T) {
	for _, most := range []int{0, 5} {
		body := Of([]byte("12345"))
		reader := body.Outgoing(most)
		got, err := io.ReadAll(reader)
		if err != nil || string(got) != "12345" {
			t.Errorf("of at most %d bytes in one write: read %q, %v, want all", most, got, err)
		}
		reader.Close()
		body.Release()
	}
}

// A request that is over gives its connection back, and over HTTP/2 has no stream any
// more. An operator may end the call at that moment.
func TestClient_LeavesARequestAloneThatIsOver(t *testing.T) {
	client := new(Client)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client.Watch(w, r, new(atomic.Int64))
		client.Stop()
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	body, end := io.Pipe()
	defer end.Close()
	res, err := server.Client().Post(server.URL, "text/plain", body)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil || res.ProtoMajor != 2 {
		t.Fatalf("HTTP/%d: %v", res.ProtoMajor, err)
	}

	if err := client.Interrupt(); err != nil {
		t.Error(err)
	}
}
