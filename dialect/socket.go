package dialect

// SocketMeter reads the usage from a provider's messages on a WebSocket. It is not safe
// for concurrent use.
type SocketMeter struct {
	sink sink
	walk walker
}

// NewSocketMeter returns a meter for a WebSocket, or nil if its messages report no usage.
// A nil SocketMeter does nothing.
func (d *Dialect) NewSocketMeter(r *Request) *SocketMeter {
	row := d.routeOf(r)
	if row == nil || !r.WebSocket || row.form.free {
		return nil
	}
	m := &SocketMeter{sink: sink{form: row.form}}
	buildGraphs()
	m.walk.root, m.walk.sink = row.form.watched, &m.sink
	m.walk.reset()
	return m
}

// Happening is the meaning of a provider's message for the bill.
type Happening uint8

const (
	Nothing     Happening = iota
	Began                 // a response began, requested or not
	Ended                 // a response ended; the reading is its usage
	Transcribed           // input audio was transcribed, which is billed separately
	Refused               // the provider refused a message
)

// Settlement is the meaning of a provider's message for the bill. Its reading covers one
// response or one transcript, never a sum.
type Settlement struct {
	Happening
	Reading
	ID string // the ID of the response, or empty
}

// Write reads a piece of a message.
func (m *SocketMeter) Write(p []byte) (int, error) {
	if m != nil {
		m.walk.write(p)
	}
	return len(p), nil
}

// EndMessage ends a message and returns its meaning.
func (m *SocketMeter) EndMessage() Settlement {
	if m == nil {
		return Settlement{}
	}
	m.walk.reset()
	s := &m.sink
	settled := Settlement{Happening: s.happening(), ID: s.id}
	if settled.Happening != Nothing {
		settled.Reading = s.reading()
		settled.Done = settled.Happening == Ended || settled.Happening == Transcribed
	}
	if settled.Happening == Transcribed {
		settled.Model = s.hears
	}

	*s = sink{form: s.form, model: s.model, hears: s.hears}
	return settled
}

// happening returns the meaning of the current message. Gemini's messages have no type,
// so each usage settles what was used since the last one.
func (s *sink) happening() Happening {
	switch s.event {
	case createdSign:
		return Began
	case transcriptSign:
		return Transcribed
	case doneSign:
		return Ended
	case failedSign:
		if s.id != "" {
			return Ended
		}
		return Refused
	}
	if s.fresh {
		return Ended
	}
	return Nothing
}
