package dialect

// sink gathers what an answer tells of its usage, from what a [walker] finds.
type sink struct {
	form *answerForm

	current  counts // of the object that is being read
	outer    counts // of the answer around a usage object that is being read
	around   counts // of the usage object around an iteration that is being read
	kept     counts // of the answer so far
	fallback counts // of the answer so far, with less detail
	extra    counts // of iterations that are billed besides

	within   ending // the element of a list that is being read
	named    sign   // what it says of itself
	acted    sign   // and of its action
	event    sign   // the type of the message that is being read
	searches int64  // hosted searches in the message
	pictures int64  // images in the message

	model     string
	tier      string
	id        string // of the response
	hears     string // the model that transcribes what a session hears
	fast      bool
	ownKey    bool  // the caller's own key paid for the model
	images    int64 // generated
	performed int64 // hosted searches
	fresh     bool  // the message told usage
	failed    bool
	done      bool
}

// sign is a text in an answer that means something to a meter.
type sign uint8

const (
	noSign sign = iota
	audioSign
	imageSign
	hourSign
	besideSign // of an iteration that is billed besides
	searchSign
	otherAction // of a search: nothing is looked up
	doneSign
	failedSign
	metadataSign
	transcriptSign
	pictureSign // an image is done
	createdSign // a response begins
)

// signs are the texts that mean something, wherever they stand.
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

// begin is told that an object begins.
func (s *sink) begin(e ending) {
	switch e {
	case noEnding:
	case endOfRoot:
		s.current, s.event, s.searches, s.pictures = counts{}, noSign, 0, 0
	case endOfUsage, endOfFallback:
		s.outer, s.current, s.extra = s.current, counts{}, counts{}
	case endOfIteration:
		s.around, s.current = s.current, counts{}
		s.within, s.named = e, noSign
	default:
		s.current.has &^= 1 << elementTokens
		s.within, s.named, s.acted = e, noSign, noSign
	}
}

// finish is told that an object ends.
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
		if s.named == besideSign {
			s.extra.sum(&iteration)
		}
	default:
		s.finishElement(e)
		s.within = noEnding
	}
}

// keep takes over a usage object, unless nothing is in it.
func (s *sink) keep() {
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

// finishRoot takes over what stood beside usage objects.
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
	s.done = s.done || s.event == doneSign || s.event == pictureSign || s.event == failedSign || s.event == metadataSign
}

// finishElement takes over an element of a list.
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

// addModality adds tokens of the modality that the element has.
func (s *sink) addModality(n int64, audio, image quantity) {
	switch s.named {
	case audioSign:
		s.current.add(audio, n)
	case imageSign:
		s.current.add(image, n)
	}
}

// text is told of a text at a watched place. It must not keep it.
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
		s.done = true
	case wordQuery:
		s.searches++
	default:
		s.literal(l, text) // some write numbers as texts
	}
}

// literal is told of a number, true, false or null at a watched place.
func (s *sink) literal(l leaf, text []byte) {
	if l < leaf(numQuantities) {
		q := quantity(l)
		scale, most := q.unit()
		if n, ok := parseDecimal(text, scale, most); ok {
			s.current.set(q, n)
		}
		return
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

// long is told of a text at a watched place that is too long to be kept, or of an
// object or an array.
func (s *sink) long(l leaf) { s.failed = s.failed || l == wordError }
