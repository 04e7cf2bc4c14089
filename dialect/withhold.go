package dialect

import "bytes"

// maxWithheld is the largest event that a Withholder buffers. Larger events pass
// unchanged.
const maxWithheld = 1 << 20

// Withholder undoes the effect of [Dialect.AskUsage] on the answer, so that the client
// receives the events of its own request. It drops the final chunk with usage and without
// choices, and removes "usage":null from the other chunks. The rest keeps its bytes. It
// delays an event only until the event is complete.
type Withholder struct {
	held   []byte // the buffered start of an event
	passes bool   // whether the event is too long to buffer
	begun  bool   // whether the current line of such an event has text
}

// Filter reads the next piece of the stream and appends its output to dst.
func (w *Withholder) Filter(dst, p []byte) []byte {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n') + 1
		if i == 0 {
			return w.take(dst, p, false)
		}
		dst = w.take(dst, p[:i], true)
		p = p[i:]
	}
	return dst
}

// Rest appends the buffered bytes to dst at the end of the stream.
func (w *Withholder) Rest(dst []byte) []byte {
	dst = append(dst, w.held...)
	w.held = nil
	return dst
}

// take reads a piece of a line. Set ends if p ends the line.
func (w *Withholder) take(dst, p []byte, ends bool) []byte {
	if w.passes {
		w.begun = w.begun || len(bytes.Trim(p, "\r\n")) > 0
		w.passes = !ends || w.begun
		w.begun = w.begun && !ends
		return append(dst, p...)
	}

	w.held = append(w.held, p...)
	switch {
	case ends && endsEvent(w.held):
		dst = appendAsked(dst, w.held)
		w.held = w.held[:0]
	case len(w.held) > maxWithheld:
		dst = append(dst, w.held...)
		w.held, w.passes, w.begun = nil, true, !ends
	}
	return dst
}

// endsEvent reports whether the last line of an event is empty.
func endsEvent(event []byte) bool {
	rest := bytes.TrimSuffix(event[:len(event)-1], []byte{'\r'})
	return len(rest) == 0 || rest[len(rest)-1] == '\n'
}

// appendAsked appends the parts of an event that the client asked for.
func appendAsked(dst, event []byte) []byte {
	data, ok := onlyData(event)
	if !ok || !bytes.Contains(data, usageMark) {
		return append(dst, event...)
	}
	start, end, last := usageOf(data)
	switch {
	case last:
		return dst
	case end == 0:
		return append(dst, event...)
	}
	at := bytes.Index(event, data)
	dst = append(dst, event[:at+start]...)
	return append(dst, event[at+end:]...)
}

// onlyData returns the data of an event with a single line of data.
func onlyData(event []byte) (data []byte, ok bool) {
	for line := range bytes.Lines(event) {
		found, is := eventData(bytes.TrimRight(line, "\r\n"))
		if is && ok {
			return nil, false
		}
		if is {
			data, ok = found, true
		}
	}
	return data, ok
}

// usageOf returns the range of "usage":null in a chunk, including a comma. It reports in
// last whether the chunk is the final one with usage.
func usageOf(data []byte) (start, end int, last bool) {
	var usage, choices []byte
	s := scanner{data: data}
	if s.space(); !s.take('{') {
		return 0, 0, false
	}
	for name, at, to, ok := s.rawMember(); ok; name, at, to, ok = s.rawMember() {
		switch string(name) {
		case "usage":
			usage, start, end = data[at:to], at, to
		case "choices":
			choices = data[at:to]
		}
	}

	whole := s.take('}')
	switch s.space(); {
	case usage == nil || !whole || s.at < len(data):
		return 0, 0, false
	case usage[0] == '{':
		return 0, 0, choices != nil && len(bytes.Trim(choices, "[] \t\r\n")) == 0
	case string(usage) != "null":
		return 0, 0, false
	}

	name := bytes.LastIndex(data[:start], []byte(`"usage"`))
	before := bytes.TrimRight(data[:name], " \t\r\n")
	if before[len(before)-1] == ',' {
		return len(before) - 1, end, false
	}
	after := data[end:]
	trimmed := bytes.TrimLeft(after, " \t\r\n")
	if trimmed[0] == ',' {
		end += len(after) - len(trimmed) + 1
	}
	return name, end, false
}
