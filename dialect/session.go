package dialect

import (
	"slices"
	"strconv"
	"strings"
)

// Session bounds what the messages of a WebSocket can cost: on OpenAI's Realtime
// API (https://developers.openai.com/api/reference/resources/realtime) and on the
// socket of its Responses API
// (https://developers.openai.com/api/docs/guides/websocket-mode). It is used by one
// goroutine at a time.
//
// A Realtime response has the whole conversation as its input, and answers what
// was said without being asked, unless the session turns that off. So the client
// caps the output of the session before it says anything.
type Session struct {
	d         *Dialect
	responses bool // it speaks as the Responses API does

	text  int64 // tokens that the next response may have as input
	audio int64 // of sound
	limit int64 // of the output of each response; 0: there is none
	mute  bool  // no response begins without being asked for
	hears string

	earlier map[string]int64 // tokens of the responses of a Responses socket
	order   []string         // of those, the oldest first
}

// What a session may have besides what its client says: the instructions that
// OpenAI gives if the client has none.
const sessionTokens = 1000

// maxEarlier is how many responses of a socket may be continued.
const maxEarlier = 64

// NewSession returns the session of a WebSocket. Its error is [*Unbounded].
func (d *Dialect) NewSession(r *Request) (*Session, error) {
	row := d.routeOf(r)
	if row == nil || row.form != realtimeForm && row.form != responsesForm {
		return nil, unbounded("path", "the cost of this WebSocket is not bounded; ask for a token without a budget")
	}
	return &Session{d: d, responses: row.form == responsesForm, text: sessionTokens, earlier: make(map[string]int64)}, nil
}

// ClientMessage is what a message of the client's can cost.
type ClientMessage struct {
	// Starts is set if the message starts a response, for which Bound is the
	// most that it can use.
	Starts bool
	Bound  Bound

	// Heard is the most that the transcription of the sound in the message can
	// use, which the model HeardBy makes. It is apart from all responses.
	Heard   Usage
	HeardBy string
}

// Client reads a message of the client's before it is sent. Its errors are
// [*Unbounded] and [*Unclear].
func (s *Session) Client(message []byte) (ClientMessage, error) {
	members, err := messageMembers(message)
	if err != nil {
		return ClientMessage{}, err
	}
	kind, _ := textOf(members, "type")
	if s.responses {
		return s.create(message, kind)
	}
	return s.realtime(message, members, kind)
}

// messageMembers returns the members of a message.
func messageMembers(message []byte) ([]member, error) {
	var members []member
	err := eachMember(message, func(name string, start, end int) error {
		members = append(members, member{name, message[start:end]})
		return nil
	})
	return members, err
}

// create reads a message on the socket of the Responses API.
func (s *Session) create(message []byte, kind string) (ClientMessage, error) {
	if kind != "response.create" {
		return ClientMessage{}, unbounded("type", "the cost of messages of the type %q is not bounded; send response.create", quotable(kind))
	}
	bound, err := s.d.boundMessage(message, s.earlier)
	return ClientMessage{Starts: true, Bound: bound}, err
}

// boundMessage bounds a response.create of the Responses API, which may continue
// an earlier response of the same socket.
func (d *Dialect) boundMessage(message []byte, earlier map[string]int64) (Bound, error) {
	rules := *responsesBounds
	rules.members = joined(rules.members, map[string]check{
		"previous_response_id": func(b *bounder, m member) error {
			id, err := b.text(m)
			tokens, known := earlier[id]
			if err != nil || !known {
				return unbounded(m.name, ruleStored)
			}
			b.tokens += tokens
			return nil
		},
	})
	return d.boundBody(&Request{Path: "/responses", Body: message}, &rules)
}

// Members of what a client says on a Realtime socket. Each is in the reference
// under two names, that of the first version of the API and that of the second.
var (
	realtimeMembers = joined(plainly("type", "object", "id", "model", "instructions", "temperature", "tool_choice",
		"parallel_tool_calls", "metadata", "conversation", "voice", "speed", "input_audio_format", "output_audio_format",
		"input_audio_noise_reduction", "tracing", "truncation", "include", "reasoning", "modalities", "output_modalities",
		"turn_detection", "input_audio_transcription", "audio"), map[string]check{
		"tools":                      readTools,
		"input":                      readItems,
		"max_output_tokens":          readRealtimeCap,
		"max_response_output_tokens": readRealtimeCap,
		"prompt":                     refuse(ruleStored),
	})

	// quietTypes are messages that start nothing and add nothing to the input.
	quietTypes = []string{
		"input_audio_buffer.clear", "output_audio_buffer.clear", "response.cancel", "conversation.item.truncate",
		"conversation.item.delete", "conversation.item.retrieve",
	}
)

// readRealtimeCap reads the cap of a session or of a response, which may say that
// there is none.
func readRealtimeCap(b *bounder, m member) error {
	if string(m.value) == `"inf"` {
		return nil
	}
	return readCap(b, m)
}

// realtime reads a message on a Realtime socket.
func (s *Session) realtime(message []byte, members []member, kind string) (ClientMessage, error) {
	var said ClientMessage
	b := &bounder{d: s.d, answers: 1, prompts: 1, describes: imageTokens}
	switch {
	case kind == "session.update":
		return said, s.update(b, members)
	case kind == "input_audio_buffer.append":
		return s.hear(dataOf(members, "audio"))
	case kind == "input_audio_buffer.commit":
		return said, s.talks()
	case kind == "conversation.item.create":
		item := dataOf(members, "item")
		if item == nil {
			return said, unbounded("item", "it is missing")
		}
		if err := readItems(b, member{"item", slices.Concat([]byte{'['}, item, []byte{']'})}); err != nil {
			return said, err
		}
		s.text += int64(len(message)) - b.inline + b.tokens
		s.audio += b.Usage.AudioInput
		return said, nil
	case kind == "response.create":
		return s.respond(b, message, members)
	case slices.Contains(quietTypes, kind):
		return said, nil
	}
	return said, unbounded("type", "the cost of messages of the type %q is not bounded; leave them out", quotable(kind))
}

// update reads what the client sets for the session.
func (s *Session) update(b *bounder, members []member) error {
	session := dataOf(members, "session")
	if session == nil {
		return nil
	}
	m := member{"session", session}
	if err := within(realtimeMembers)(b, m); err != nil {
		return err
	}
	inner, err := objectMembers(m)
	if err != nil {
		return err
	}

	s.text += int64(len(session)) + b.tokens
	if b.Cap.Limit > 0 {
		s.limit = b.Cap.Limit
	}
	turns, transcription := dataOf(inner, "turn_detection"), dataOf(inner, "input_audio_transcription")
	if audio := dataOf(inner, "audio"); audio != nil && audio[0] == '{' {
		if at, err := memberAt(audio, []string{"input", "turn_detection"}); err == nil && at.value() != nil {
			turns = at.value()
		}
		if at, err := memberAt(audio, []string{"input", "transcription"}); err == nil && at.value() != nil {
			transcription = at.value()
		}
	}
	s.turns(turns)
	return s.transcribe(transcription)
}

// turns notes whether the provider answers without being asked.
func (s *Session) turns(detection []byte) {
	switch {
	case detection == nil:
	case string(detection) == "null":
		s.mute = true
	case detection[0] == '{':
		at, err := memberAt(detection, []string{"create_response"})
		s.mute = err == nil && string(at.value()) == "false"
	}
}

// transcribe notes which model transcribes what the client says.
func (s *Session) transcribe(transcription []byte) error {
	switch {
	case transcription == nil:
	case string(transcription) == "null":
		s.hears = ""
	default:
		members, err := objectMembers(member{"transcription", transcription})
		if err != nil {
			return err
		}
		model, ok := textOf(members, "model")
		if !ok {
			return unbounded("transcription.model", "it must name the model, whose price is known")
		}
		s.hears = model
	}
	return nil
}

// talks refuses what may be answered at once, before the output has a cap.
func (s *Session) talks() error {
	if !s.mute && s.limit == 0 {
		return unbounded("session.max_output_tokens", "the session answers without being asked; send session.update first, with a number or with turn_detection null")
	}
	return nil
}

// slowestSound is the fewest bytes that a second of sound has on a Realtime
// socket: G.711 at 8 kHz.
const slowestSound = 8000

// hear reads sound that the client says.
func (s *Session) hear(quoted []byte) (ClientMessage, error) {
	var said ClientMessage
	if err := s.talks(); err != nil {
		return said, err
	}
	n := millisecondsOf(int64(len(quoted))*3/4, slowestSound)
	s.audio += soundTokens(n)
	if s.hears != "" {
		said.HeardBy = s.hears
		said.Heard = Usage{
			AudioInput:   soundTokens(n),
			Milliseconds: n,
			Output:       n*transcriptTokensPerSecond/1000 + 1,
		}
	}
	return said, nil
}

// respond reads a response.create, whose input is the conversation.
func (s *Session) respond(b *bounder, message []byte, members []member) (ClientMessage, error) {
	if response := dataOf(members, "response"); response != nil && string(response) != "null" {
		if err := within(realtimeMembers)(b, member{"response", response}); err != nil {
			return ClientMessage{}, err
		}
	}
	more := int64(len(message)) - b.inline + b.tokens
	bound := s.bound(b.Cap.Limit)
	bound.Usage.Input += more
	bound.Usage.AudioInput += b.Usage.AudioInput
	return ClientMessage{Starts: true, Bound: bound}, nil
}

// bound is the most that the next response can use. Its output may be all speech or
// all text, of which speech is dearer.
func (s *Session) bound(limit int64) Bound {
	if limit == 0 {
		limit = s.limit
	}
	return Bound{
		Usage: Usage{Requests: 1, Input: s.text, AudioInput: s.audio, AudioOutput: limit},
		Cap:   Cap{Field: "max_output_tokens", Limit: limit, Times: 1, Speech: true},
		cache: writesCache,
	}
}

// Standing returns the most that a response can use which begins without being
// asked for, and reports whether one may.
func (s *Session) Standing() (Bound, bool) {
	return s.bound(0), !s.responses && !s.mute
}

// Settled adds what a response used to the conversation.
func (s *Session) Settled(settled *Settlement) {
	if settled.Happening != Ended {
		return
	}
	u := &settled.Usage
	if !s.responses {
		s.text += u.Output
		s.audio += u.AudioOutput
		return
	}
	if settled.ID == "" {
		return
	}
	if len(s.order) == maxEarlier {
		delete(s.earlier, s.order[0])
		s.order = s.order[1:]
	}
	s.order = append(s.order, settled.ID)
	s.earlier[settled.ID] = u.Input + u.CacheRead + u.CacheWrite + u.CacheWriteHour + u.ImageInput + u.AudioInput + u.Output
}

// SetCap sets the cap of the output in a message that starts a response or sets the
// session's. Other messages stay as they are. It returns the name of what it set.
func (s *Session) SetCap(message []byte, limit int64) (changed []byte, field string, err error) {
	members, err := messageMembers(message)
	if err != nil {
		return nil, "", err
	}
	kind, _ := textOf(members, "type")
	object := map[string]string{"response.create": "response", "session.update": "session"}[kind]
	var caps []string
	switch {
	case s.responses && kind == "response.create":
		caps = []string{"max_output_tokens"}
	case !s.responses && object != "":
		caps = []string{object + ".max_response_output_tokens", object + ".max_output_tokens"}
	default:
		return message, "", nil
	}

	changed, field, err = setCaps(message, caps, limit)
	if err == nil && field == "" {
		field = caps[len(caps)-1]
		if isFirstVersion(dataOf(members, object)) {
			field = caps[0]
		}
		changed, err = setMember(message, strings.Split(field, "."), strconv.AppendInt(nil, limit, 10))
	}
	return changed, field, err
}

// firstVersion are members that only the first version of the Realtime API has.
var firstVersion = []string{"modalities", "voice", "input_audio_format", "output_audio_format", "input_audio_transcription", "turn_detection", "temperature"}

// isFirstVersion reports whether a session or a response is one of the first
// version of the Realtime API, which calls the cap max_response_output_tokens.
func isFirstVersion(object []byte) bool {
	if len(object) == 0 || object[0] != '{' {
		return false
	}
	members, err := membersOf(object)
	return err == nil && slices.ContainsFunc(members, func(m member) bool { return slices.Contains(firstVersion, m.name) })
}
