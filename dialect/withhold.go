package dialect

import "bytes"

// maxWithheld is how long an event may be from which something is taken out.
// Longer ones pass as they are.
const maxWithheld = 1 << 20

// Withholder takes out of a stream of Chat Completions or Completions what a
// client did not ask for, after [Dialect.AskUsage] asked for it: the last chunk,
// which has usage and no choices, and in the other chunks the member usage that is
// null. The rest keeps its bytes, so that the client has the events that it would
// have had. An event is held until it is whole, and no longer.
type Withholder struct {
	held   []byte // the beginning of an event
	passes bool   // the event is too long, and passes as it is
	begun  bool   // so does the line that is being read, which is not empty
}

// Filter appends to dst what passes of the next piece of the stream.
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

// Rest appends to dst what is held at the end of the stream.
func (w *Withholder) Rest(dst []byte) []byte {
	dst = append(dst, w.held...)
	w.held = nil
	return dst
}

// take takes a piece of a line, which ends it or not.
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

// endsEvent reports whether an event ends with its last line, which is empty.
func endsEvent(event []byte) bool {
	rest := bytes.TrimSuffix(event[:len(event)-1], []byte{'\r'})
	return len(rest) == 0 || rest[len(rest)-1] == '\n'
}

// appendAsked appends what of an event the client asked for.
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

// onlyData returns the data of an event that has one line of data.
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

// usageOf finds in a chunk a usage that is null, with the comma that it needs, or
// reports that the chunk is the last one: it has usage, and no choices.
func usageOf(data []byte) (start, end int, last bool) {
	var usage, choices []byte
	err := eachMember(data, func(name string, at, to int) error {
		switch name {
		case "usage":
			usage, start, end = data[at:to], at, to
		case "choices":
			choices = data[at:to]
		}
		return nil
	})
	switch {
	case err != nil || usage == nil:
		return 0, 0, false
	case usage[0] == '{':
		return 0, 0, choices != nil && len(bytes.Trim(choices, "[] \t\r\n")) == 0
	case string(usage) != "null":
		return 0, 0, false
	}

	name := bytes.LastIndex(data[:start], []byte(`"usage"`))
	if name < 0 { // written with escapes
		return 0, 0, false
	}
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
