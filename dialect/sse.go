package dialect

import "bytes"

// maxHeldLine is the largest line of an event stream that a meter buffers. It parses
// longer lines as they arrive.
const maxHeldLine = 64 << 10

// lines splits an event stream
// (https://html.spec.whatwg.org/multipage/server-sent-events.html) into lines. It copies
// only lines that arrive in several pieces.
type lines struct {
	held   []byte // the buffered start of a line
	within bool   // whether the long line is data
	long   bool   // whether the line is too long to buffer
	open   bool   // whether the event has data
	begun  bool   // whether the event has a line
}

// write reads the next piece of the stream.
func (l *lines) write(p []byte, m *Meter) {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			l.hold(p, m)
			return
		}
		if !l.long && len(l.held) == 0 && i <= maxHeldLine {
			l.line(p[:i], m)
		} else {
			l.hold(p[:i], m)
			l.endLine(m)
		}
		p = p[i+1:]
	}
}

// hold buffers a piece of a line, or parses it if the line is too long.
func (l *lines) hold(p []byte, m *Meter) {
	if !l.long && len(l.held)+len(p) <= maxHeldLine {
		l.held = append(l.held, p...)
		return
	}
	if !l.long {
		n := min(len(p), max(len(dataName)-len(l.held), 0)) // enough to recognize the field
		l.held, p = append(l.held, p[:n]...), p[n:]
		data, ok := eventData(l.held)
		l.long, l.within, l.open = true, ok, l.open || ok
		l.more(data, m)
		l.held = nil
	}
	l.more(p, m)
}

// more parses a piece of a long line.
func (l *lines) more(p []byte, m *Meter) {
	if l.within {
		m.walk.write(p)
	}
}

// endLine ends a line that arrived in pieces.
func (l *lines) endLine(m *Meter) {
	if l.long {
		l.long, l.within, l.begun = false, false, true
		return
	}
	l.line(l.held, m)
	l.held = l.held[:0]
}

// line reads a complete line.
func (l *lines) line(line []byte, m *Meter) {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	l.begun = len(line) > 0
	if !l.begun {
		if l.open {
			m.endEvent()
			l.open = false
		}
		return
	}

	data, ok := eventData(line)
	switch {
	case !ok:
		m.sink.failed = m.sink.failed || isErrorEvent(line)
	case isDone(data):
		m.sink.done = true
	default:
		l.open = true
		m.event(data)
	}
}

// between reports whether the stream is between two events.
func (l *lines) between() bool { return !l.begun && !l.long && len(l.held) == 0 }

// dataName is the start of a line of data.
var dataName = []byte("data:")

// eventData returns the data in a line.
func eventData(line []byte) ([]byte, bool) {
	data, ok := bytes.CutPrefix(line, dataName)
	return bytes.TrimPrefix(data, []byte(" ")), ok
}

// isDone reports whether data is the end of a stream of OpenAI's older APIs.
func isDone(data []byte) bool { return bytes.HasPrefix(data, []byte("[DONE]")) }

// isErrorEvent reports whether a line names an error event.
func isErrorEvent(line []byte) bool {
	name, ok := bytes.CutPrefix(line, []byte("event:"))
	return ok && string(bytes.TrimSpace(name)) == "error"
}
