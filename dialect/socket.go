package dialect

// SocketMeter reads usage out of what a provider says on a WebSocket, message by
// message. It is used by one goroutine at a time.
type SocketMeter struct {
	sink sink
	walk walker
}

// NewSocketMeter returns the meter of a WebSocket; nil: its messages tell no usage.
// The methods of a nil SocketMeter do nothing.
func (d *Dialect) NewSocketMeter(r *Request) *SocketMeter {
	row := d.routeOf(r)
	if row == nil || !r.WebSocket || row.form.free {
		return nil
	}
	m := &SocketMeter{sink: sink{form: row.form}}
	m.walk.root, m.walk.sink = row.form.watched, &m.sink
	m.walk.reset()
	return m
}

// Happening is what a message of the provider's means for the bill.
type Happening uint8

const (
	Nothing     Happening = iota
	Began                 // a response began, asked for or not
	Ended                 // a response ended: the reading is what it used
	Transcribed           // what the client said was transcribed, which is billed apart
	Refused               // the provider refused a message
)

// Settlement is what a message of the provider's means for the bill. Its reading is
// that of one response or of one transcript, never a sum.
type Settlement struct {
	Happening
	Reading
	ID string // of the response, if it has one
}

// Write reads a piece of a message.
func (m *SocketMeter) Write(p []byte) (int, error) {
	if m != nil {
		m.walk.write(p)
	}
	return len(p), nil
}

// EndMessage ends a message, and returns what it means.
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

// happening is what the message that was read means. Gemini's and Deepgram's
// messages have no type: their usage settles what was used since the last one.
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
