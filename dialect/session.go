package dialect

import (
	"slices"
	"strconv"
	"strings"
)

// Session bounds the cost of a client's messages on a WebSocket. It supports OpenAI's
// Realtime API (https://developers.openai.com/api/reference/resources/realtime) and the
// socket of its Responses API
// (https://developers.openai.com/api/docs/guides/websocket-mode). It is not safe for
// concurrent use.
//
// The input of a Realtime response is the whole conversation. The provider responds to
// speech without a request, unless the session disables that. So a client must cap the
// output of the session before it sends audio.
type Session struct {
	d         *Dialect
	responses bool // whether it is a socket of the Responses API

	text  int64  // text tokens in the input of the next response, at most
	audio int64  // audio tokens in it, at most
	limit int64  // the session's cap of the output; 0 means none
	mute  bool   // whether responses begin only on request
	hears string // the model that transcribes the input; empty means none

	earlier map[string]int64 // tokens of earlier responses by their ID
	order   []string         // their IDs, oldest first
}

// sessionTokens is the most that OpenAI's default instructions add to the input.
const sessionTokens = 1000

// maxEarlier is the number of responses that a socket may continue.
const maxEarlier = 64

// NewSession returns a session for a WebSocket. Its error is [*Unbounded].
func (d *Dialect) NewSession(r *Request) (*Session, error) {
	row := d.routeOf(r)
	if row == nil || row.form != realtimeForm && row.form != responsesForm {
		return nil, unbounded("path", "the cost of this WebSocket has no bound; use a token without a budget")
	}
	return &Session{d: d, responses: row.form == responsesForm, text: sessionTokens, earlier: make(map[string]int64)}, nil
}

// ClientMessage is the most that a client's message can cost.
type ClientMessage struct {
	// Starts reports whether the message starts a response. Bound is the most
	// that the response can use.
	Starts bool
	Bound  Bound

	// Heard is the most that transcribing the audio in the message can use with
	// the model HeardBy. It is billed separately from responses.
	Heard   Usage
	HeardBy string
}

// Client checks a client's message before it is sent. Its errors are [*Unbounded] and
// [*Unclear].
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

// create checks a message on a socket of the Responses API.
func (s *Session) create(message []byte, kind string) (ClientMessage, error) {
	if kind != "response.create" {
		return ClientMessage{}, unbounded("type", "messages of the type %q have no bounded cost; send response.create", quotable(kind))
	}
	bound, err := s.d.boundMessage(message, s.earlier)
	return ClientMessage{Starts: true, Bound: bound}, err
}

// boundMessage bounds a response.create of the Responses API. The message may continue
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

// Fields and types of a client's messages on a Realtime socket. The fields are those of
// both versions of the API.
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

	// quietTypes are the types of messages that start nothing and add no input.
	quietTypes = []string{
		"input_audio_buffer.clear", "output_audio_buffer.clear", "response.cancel", "conversation.item.truncate",
		"conversation.item.delete", "conversation.item.retrieve",
	}
)

// readRealtimeCap reads the cap of a session or a response. The text "inf" means none.
func readRealtimeCap(b *bounder, m member) error {
	if string(m.value) == `"inf"` {
		return nil
	}
	return readCap(b, m)
}

// realtime checks a message on a Realtime socket.
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
			return said, unbounded("item", "it is missing; add it")
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
	return said, unbounded("type", "messages of the type %q have no bounded cost; remove them", quotable(kind))
}

// update checks the settings of a session.
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

// turns records whether the provider may respond without a request.
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

// transcribe records the model that transcribes the input.
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
			return unbounded("transcription.model", "it is missing; name the model")
		}
		s.hears = model
	}
	return nil
}

// talks refuses audio that the provider may respond to before the output has a cap.
func (s *Session) talks() error {
	if !s.mute && s.limit == 0 {
		return unbounded("session.max_output_tokens", "the provider responds without a request and without a cap; send session.update first, with a number here or with turn_detection null")
	}
	return nil
}

// slowestSound is the lowest byte rate of audio on a Realtime socket, that of G.711 at
// 8 kHz.
const slowestSound = 8000

// hear checks audio of the client.
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

// respond checks a response.create. Its input is the whole conversation.
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

// bound returns the most that the next response can use. It counts all output as speech,
// which costs more than text.
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

// Standing returns the most that a response without a request can use, and reports
// whether the provider may start one.
func (s *Session) Standing() (Bound, bool) {
	return s.bound(0), !s.responses && !s.mute
}

// Settled adds the output of a response to the conversation.
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

// SetCap sets the cap of the output in a response.create or a session.update. It does not
// change other messages. It returns the name of the field.
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

// firstVersion lists fields that exist only in the first version of the Realtime API.
var firstVersion = []string{"modalities", "voice", "input_audio_format", "output_audio_format", "input_audio_transcription", "turn_detection", "temperature"}

// isFirstVersion reports whether a session or a response uses the first version of the
// Realtime API. That version names the cap max_response_output_tokens.
func isFirstVersion(object []byte) bool {
	if len(object) == 0 || object[0] != '{' {
		return false
	}
	members, err := membersOf(object)
	return err == nil && slices.ContainsFunc(members, func(m member) bool { return slices.Contains(firstVersion, m.name) })
}
