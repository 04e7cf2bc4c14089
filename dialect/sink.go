package dialect

// sink collects an answer's usage from the values that a [walker] finds.
type sink struct {
	form *answerForm

	current  counts // of the current object
	outer    counts // of the answer around the current usage object
	around   counts // of the usage object around the current iteration
	kept     counts // of the answer so far
	fallback counts // of the answer so far, from objects with less detail
	extra    counts // of iterations that are billed in addition
	listed   counts // the same, of the current usage object
	iterated bool   // whether the current usage object lists iterations

	within   ending // the kind of the current element of a list
	named    sign   // the name in that element
	acted    sign   // the action in that element
	event    sign   // the type of the current message
	searches int64  // hosted searches in the message
	pictures int64  // images in the message

	model     string
	tier      string
	id        string // the ID of the response
	hears     string // the model that transcribes a session's input
	fast      bool
	ownKey    bool  // whether the caller's own key paid for the model
	images    int64 // generated images
	performed int64 // hosted searches
	fresh     bool  // whether the current message has usage
	failed    bool
	cut       bool // whether an error came after the usage, so that the usage may be incomplete
	done      bool
	finished  bool // whether a candidate of Gemini's is finished
	several   bool // whether there are several candidates; each finishes separately
	ended     bool // whether the answer came to its end
}

// sign is a text with a meaning for a meter.
type sign uint8

const (
	noSign sign = iota
	audioSign
	imageSign
	hourSign
	besideSign // an iteration that is billed in addition
	searchSign
	otherAction // a part of a search that is not billed
	doneSign
	failedSign
	metadataSign
	transcriptSign
	pictureSign // an image is complete
	createdSign // a response began
)

// signs maps texts to signs in all places.
var signs = map[string]sign{
	"AUDIO": audioSign,
	"IMAGE": imageSign,
	"1h":    hourSign,

	"compaction":      besideSign,
	"advisor_message": besideSign,
	"web_search_call": searchSign,

	"response.completed":         doneSign,
	"response.incomplete":        doneSign,
	"response.done":              doneSign,
	"message_stop":               doneSign,
	"message-end":                doneSign,
	"stream-end":                 doneSign,
	"image_generation.completed": pictureSign,
	"image_edit.completed":       pictureSign,
	"speech.audio.done":          doneSign,
	"transcript.text.done":       doneSign,

	"response.created": createdSign,

	"error":           failedSign,
	"response.failed": failedSign,
	"Metadata":        metadataSign,

	"conversation.item.input_audio_transcription.completed": transcriptSign,
}

// begin begins an object.
func (s *sink) begin(e ending) {
	switch e {
	case noEnding:
	case endOfRoot:
		s.current, s.event, s.searches, s.pictures, s.fresh = counts{}, noSign, 0, 0, false
	case endOfUsage, endOfFallback:
		s.outer, s.current = s.current, counts{}
		s.listed, s.iterated = counts{}, false
	case endOfIteration:
		s.around, s.current = s.current, counts{}
		s.within, s.named = e, noSign
	default:
		s.current.has &^= 1 << elementTokens
		s.within, s.named, s.acted = e, noSign, noSign
	}
}

// finish ends an object.
func (s *sink) finish(e ending) {
	switch e {
	case noEnding:
	case endOfRoot:
		s.finishRoot()
	case endOfUsage:
		s.keep()
	case endOfFallback:
		s.fallback, s.current = s.current, s.outer
	case endOfIteration:
		iteration := s.current
		s.current, s.within = s.around, noEnding
		s.iterated = true
		if s.named == besideSign {
			s.listed.sum(&iteration)
		}
	default:
		s.finishElement(e)
		s.within = noEnding
	}
}

// keep stores a usage object, unless it is empty.
func (s *sink) keep() {
	if s.iterated {
		s.extra = s.listed
	}
	if s.current.has != 0 {
		if s.form.merges {
			s.kept.merge(&s.current)
		} else {
			s.kept = s.current
		}
		s.fresh = true
	}
	s.current = s.outer
}

// finishRoot ends a message and stores its numbers beside usage objects.
func (s *sink) finishRoot() {
	if s.event != metadataSign {
		s.current.drop(socketRecorded, socketChannels)
	}
	if s.current.has != 0 {
		s.kept.merge(&s.current)
		s.current, s.fresh = counts{}, true
	}
	s.performed = max(s.performed, s.searches)
	s.images = max(s.images, s.pictures)
	if s.event == pictureSign {
		s.images++
	}
	s.failed = s.failed || s.event == failedSign
	s.cut = s.cut || s.failed && !s.fresh && s.kept.has != 0
	s.done = s.done || s.event == doneSign || s.event == pictureSign || s.event == failedSign || s.event == metadataSign
}

// finishElement ends an element of a list.
func (s *sink) finishElement(e ending) {
	n := s.current.n[elementTokens]
	if !s.current.told(elementTokens) {
		n = 0
	}
	s.current.drop(elementTokens)

	switch e {
	case endOfPrompt:
		s.addModality(n, audioIn, imageIn)
	case endOfCached:
		s.addModality(n, cachedAudio, cachedImage)
	case endOfOutput:
		s.addModality(n, audioOut, imageOut)
	case endOfWritten:
		if s.named == hourSign {
			s.current.add(writtenHour, n)
		}
	case endOfResult:
		s.current.add(outputTokens, n)
	case endOfImage:
		s.pictures++
	case endOfItem:
		if s.named == searchSign && s.acted != otherAction {
			s.searches++
		}
	}
}

// addModality adds tokens to the quantity for the element's modality.
func (s *sink) addModality(n int64, audio, image quantity) {
	switch s.named {
	case audioSign:
		s.current.add(audio, n)
	case imageSign:
		s.current.add(image, n)
	}
}

// text receives a text at a watched place. It must not retain the slice.
func (s *sink) text(l leaf, text []byte) {
	switch l {
	case wordModel:
		if len(text) > 0 && s.model != string(text) {
			s.model = string(text)
		}
	case wordTier:
		if s.tier != string(text) {
			s.tier = string(text)
		}
	case wordID:
		s.id = string(text)
	case wordTranscriber:
		s.hears = string(text)
	case wordSpeed:
		s.fast = string(text) == "fast"
	case wordType:
		if s.within != noEnding {
			s.named = signs[string(text)]
		} else {
			s.event = signs[string(text)]
		}
	case wordName:
		s.named = signs[string(text)]
	case wordAction:
		if string(text) != "search" {
			s.acted = otherAction
		}
	case wordError:
		s.failed = s.failed || len(text) > 0
	case wordFinish:
		s.finished = true
	case wordQuery:
		s.searches++
	default:
		s.literal(l, text) // some servers send numbers as texts
	}
}

// literal receives a number, true, false or null at a watched place.
func (s *sink) literal(l leaf, text []byte) {
	if l < leaf(numQuantities) {
		q := quantity(l)
		scale, most := q.unit()
		if n, ok := parseDecimal(text, scale, most); ok {
			s.current.set(q, n)
		}
		return
	}
	if l == wordCandidate {
		s.several = s.several || string(text) != "0"
	}
	if string(text) != "true" {
		return
	}
	switch l {
	case wordError:
		s.failed = true
	case wordDone:
		s.done = true
	case wordOwnKey:
		s.ownKey = true
	}
}

// long receives an object, an array, or a text that is too long to buffer.
func (s *sink) long(l leaf) { s.failed = s.failed || l == wordError }
