package dialect

// quantity is a number that an answer tells of its usage. Providers call it by
// different names and mean different things by the same name, so the tables of
// their dialects ([openaiUsage] and its like) say which name is which quantity.
type quantity uint8

const (
	noQuantity   quantity = iota
	promptTokens          // input, with all that came from or went into a cache
	inputTokens           // input, with or without that: the others tell
	outputTokens          // output, with its reasoning
	totalTokens           // of input and output

	cachedInside     // the part of the prompt that came from a cache
	writtenInside    // the part of the prompt that went into a cache
	writtenLong      // of that, what went into it for hours
	cachedBeside     // came from a cache, and is not in the input
	writtenBeside    // went into a cache, and is not in the input
	writtenMinutes   // of that, for five minutes
	writtenHour      // of that, for an hour
	toolPromptTokens // results of hosted tools, beside the prompt

	audioIn     // of the prompt
	imageIn     // of the prompt
	cachedAudio // of cachedInside
	cachedImage // of cachedInside
	audioOut    // of the output
	imageOut    // of the output
	textOut     // of the output

	reasoningTokens // of the output
	thoughtTokens   // reasoning beside the output
	processedIn     // what the model read, where the bill says less
	processedOut    // what it wrote, where the bill says less
	searches        // in the web

	milliseconds      // that are billed
	audioMilliseconds // of a prompt whose audio tokens are in the total only
	recorded          // milliseconds of the recording, which count where nothing else is told
	channels          // of the recording, each of which is billed
	socketRecorded    // the same, in the last message of a socket
	socketChannels

	nanoUSD     // that the provider bills
	upstreamUSD // nano-USD that are billed elsewhere
	ticks       // 10⁻¹⁰ USD that the provider bills

	elementTokens // of an element of a list

	numQuantities
)

// counts are the quantities that an answer told.
type counts struct {
	n   [numQuantities]int64
	has uint64
}

func (c *counts) set(q quantity, n int64) {
	c.n[q] = n
	c.has |= 1 << q
}

func (c *counts) told(q quantity) bool { return c.has&(1<<q) != 0 }

// merge takes over what later counts tell. Anthropic's are cumulative, and a zero
// in a later one says nothing.
func (c *counts) merge(later *counts) {
	for q := range numQuantities {
		if later.told(q) && (later.n[q] != 0 || !c.told(q)) {
			c.set(q, later.n[q])
		}
	}
}

// add adds to a quantity.
func (c *counts) add(q quantity, n int64) {
	if c.told(q) {
		n += c.n[q]
	}
	c.set(q, n)
}

// drop forgets quantities.
func (c *counts) drop(quantities ...quantity) {
	for _, q := range quantities {
		c.has &^= 1 << q
		c.n[q] = 0
	}
}

// sum adds all of other.
func (c *counts) sum(other *counts) {
	for q := range numQuantities {
		if other.told(q) {
			c.add(q, other.n[q])
		}
	}
}

// unit is how many decimal places of a quantity count, and how large it may be.
func (q quantity) unit() (scale int, most int64) {
	switch q {
	case milliseconds, audioMilliseconds, recorded, socketRecorded:
		return 3, maxTokens
	case nanoUSD, upstreamUSD:
		return 9, maxCost
	case ticks:
		return 0, 10 * maxCost
	}
	return 0, maxTokens
}

// leaf is what a value at a watched place means: a quantity, or one of the words
// below.
type leaf uint8

const (
	wordModel leaf = leaf(numQuantities) + iota
	wordTier
	wordSpeed
	wordType   // of an event, or of an element
	wordName   // of an element's kind
	wordAction // of an output item
	wordError
	wordDone
	wordFinish
	wordQuery       // to a hosted search
	wordOwnKey      // the caller's own key served the call
	wordID          // of a response
	wordTranscriber // the model that transcribes what a session hears
)

// ending is what to do at the end of an object.
type ending uint8

const (
	noEnding       ending = iota
	endOfUsage            // an object that tells usage
	endOfFallback         // one that tells it again, with less detail
	endOfRoot             // the value itself, which may tell usage too
	endOfPrompt           // an element of Gemini's promptTokensDetails
	endOfCached           // of its cacheTokensDetails
	endOfOutput           // of its candidatesTokensDetails
	endOfWritten          // of Bedrock's cacheDetails
	endOfIteration        // of Anthropic's iterations
	endOfItem             // of the output of OpenAI's Responses API
	endOfImage            // of a list of images
	endOfResult           // of Titan's results
)

// member is a row of a table: the path of a number below a usage object.
type usageMember struct {
	path     string
	quantity quantity
}

// answerForm is what answers of one API look like.
type answerForm struct {
	places   []string // of usage objects
	fallback []string // of objects that tell usage again, with less detail
	numbers  [][]usageMember
	elements []elementRow
	words    map[string]leaf // besides those of all forms

	merges  bool // usage is told in parts, each field of which replaces what it was
	images  bool // output is images, unless it says more
	listens bool // the duration of the recording counts
	speaks  bool // the request's text counts, by characters
	free    bool // a call costs nothing

	// marks are texts of which an event has one that tells something, besides
	// those of usage objects and errors.
	marks [][]byte

	watched *node // the tree of all of that, set at init
}

// Forms of answers.
var (
	chatForm = &answerForm{places: []string{"usage", "x_groq.usage"}}

	responsesForm = &answerForm{
		places:   []string{"usage", "response.usage"},
		elements: []elementRow{{"output[]", endOfItem, itemMembers}, {"response.output[]", endOfItem, itemMembers}},
		words:    map[string]leaf{"response.id": wordID},
	}

	messagesForm = &answerForm{places: []string{"usage", "message.usage"}, merges: true, marks: marks("message_stop")}

	imagesForm = &answerForm{
		places:   []string{"usage", "usageMetadata"},
		elements: []elementRow{{"data[]", endOfImage, nil}, {"predictions[]", endOfImage, nil}},
		images:   true,
	}

	transcriptionForm = &answerForm{places: []string{"usage"}, numbers: [][]usageMember{transcriptionUsage}, listens: true, marks: marks("transcript.text.done")}
	speechForm        = &answerForm{places: []string{"usage"}, speaks: true, marks: marks("speech.audio.done")}
	realtimeForm      = &answerForm{places: []string{"usage", "response.usage"}, words: sessionWords}

	geminiForm = &answerForm{
		places: []string{"usageMetadata", "response.usageMetadata"},
		words:  map[string]leaf{"candidates[].groundingMetadata.webSearchQueries[]": wordQuery},
	}
	liveForm = &answerForm{places: []string{"usageMetadata"}}

	converseForm = &answerForm{places: []string{"usage"}}
	invokeForm   = &answerForm{
		places:   []string{"usage", "message.usage", "metadata.usage", "meta", "response.meta"},
		fallback: []string{"amazon-bedrock-invocationMetrics"},
		numbers:  [][]usageMember{llamaUsage},
		elements: []elementRow{{"results[]", endOfResult, []elementMember{{"tokenCount", leaf(elementTokens)}}}},
		merges:   true,
		marks: marks("message_stop", "amazon-bedrock-invocationMetrics", "billed_units", "prompt_token_count",
			"generation_token_count", "inputTextTokenCount", "totalOutputTextTokenCount"),
	}

	cohereForm   = &answerForm{places: []string{"usage", "delta.usage", "meta", "response.meta"}, marks: marks("billed_units")}
	ollamaForm   = &answerForm{places: []string{"usage"}, numbers: [][]usageMember{ollamaUsage}}
	deepgramForm = &answerForm{numbers: [][]usageMember{deepgramUsage}, listens: true}
	elevenForm   = &answerForm{numbers: [][]usageMember{elevenlabsUsage}, listens: true}
	freeForm     = &answerForm{free: true}

	// anyForm is that of a path of which nothing is known.
	anyForm = &answerForm{
		places: []string{"usage", "usageMetadata", "message.usage", "response.usage", "x_groq.usage", "meta"},
		merges: true,
		marks:  marks("message_stop", "billed_units"),
	}
)

// marks are texts in quotes, as they stand in JSON.
func marks(texts ...string) [][]byte {
	quoted := make([][]byte, len(texts))
	for i, text := range texts {
		quoted[i] = []byte(`"` + text + `"`)
	}
	return quoted
}

var answerForms = []*answerForm{
	chatForm, responsesForm, messagesForm, imagesForm, transcriptionForm, speechForm, realtimeForm, geminiForm, liveForm,
	converseForm, invokeForm, cohereForm, ollamaForm, deepgramForm, elevenForm, freeForm, anyForm,
}

func init() {
	usage, fallback := usageTree(endOfUsage), usageTree(endOfFallback)
	for _, f := range answerForms {
		f.watched = f.tree(usage, fallback)
	}
}

// usageTree builds what is watched in a usage object, whatever the provider: a
// gateway may pass on the fields of any other.
func usageTree(end ending) *node {
	usage := &node{end: end}
	for _, rows := range [][]usageMember{openaiUsage, anthropicUsage, geminiUsage, bedrockUsage, cohereUsage} {
		for _, row := range rows {
			usage.at(row.path).leaf = leaf(row.quantity)
		}
	}
	usage.addElements(usageElements)
	for path, word := range usageWords {
		usage.at(path).leaf = word
	}
	return usage
}

// tree builds what is watched in an answer of this form.
func (f *answerForm) tree(usage, fallback *node) *node {
	root := &node{end: endOfRoot}
	for _, rows := range f.numbers {
		for _, row := range rows {
			root.at(row.path).leaf = leaf(row.quantity)
		}
	}
	root.addElements(f.elements)
	for _, words := range []map[string]leaf{rootWords, f.words} {
		for path, word := range words {
			root.at(path).leaf = word
		}
	}

	for _, place := range f.places {
		root.at(place).adopt(usage)
	}
	for _, place := range f.fallback {
		root.at(place).adopt(fallback)
	}
	root.element = root // Gemini streams an array of answers
	return root
}

// addElements adds lists below n.
func (n *node) addElements(rows []elementRow) {
	for _, row := range rows {
		element := n.at(row.path)
		element.end = row.end
		if element.members == nil {
			element.members = make(map[string]*node)
		}
		for _, m := range row.members {
			element.at(m.path).leaf = m.leaf
		}
	}
}

// adopt makes n watch what other watches, besides its own.
func (n *node) adopt(other *node) {
	if n.members == nil {
		n.members = make(map[string]*node, len(other.members))
	}
	for name, m := range other.members {
		if n.members[name] == nil {
			n.members[name] = m
		}
	}
	n.end = other.end
}

// element is a row of a table: the path of a list's elements, and what is in each.
type elementRow struct {
	path    string
	end     ending
	members []elementMember
}

type elementMember struct {
	path string
	leaf leaf
}

// modality is what Gemini's lists of tokens by modality have.
var modality = []elementMember{{"modality", wordName}, {"tokenCount", leaf(elementTokens)}}

var (
	usageElements = []elementRow{
		{"promptTokensDetails[]", endOfPrompt, modality},
		{"cacheTokensDetails[]", endOfCached, modality},
		{"candidatesTokensDetails[]", endOfOutput, modality},
		{"responseTokensDetails[]", endOfOutput, modality},
		{"cacheDetails[]", endOfWritten, []elementMember{{"ttl", wordName}, {"inputTokens", leaf(elementTokens)}}},
		{"iterations[]", endOfIteration, iterationMembers()},
	}
	itemMembers = []elementMember{{"type", wordType}, {"action.type", wordAction}}

	// usageWords are texts in a usage object.
	usageWords = map[string]leaf{
		"service_tier": wordTier, "serviceTier": wordTier, "speed": wordSpeed, "is_byok": wordOwnKey,
	}

	// sessionWords are those of a Realtime session, which is written in two ways.
	sessionWords = map[string]leaf{
		"response.id":   wordID,
		"session.model": wordModel,
		"session.audio.input.transcription.model": wordTranscriber,
		"session.input_audio_transcription.model": wordTranscriber,
	}

	// rootWords are texts and marks of an answer, or of an event.
	rootWords = map[string]leaf{
		"model": wordModel, "message.model": wordModel, "response.model": wordModel,
		"modelVersion": wordModel, "response.modelVersion": wordModel,
		"service_tier": wordTier, "response.service_tier": wordTier, "serviceTier.type": wordTier,
		"type": wordType, "event_type": wordType,
		"error": wordError, "done": wordDone, "candidates[].finishReason": wordFinish,
	}
)

// ollamaUsage are Ollama's numbers, in the answer's own object
// (https://docs.ollama.com/api/usage).
var ollamaUsage = []usageMember{
	{"prompt_eval_count", promptTokens},
	{"eval_count", outputTokens},
}

// iterationMembers are those of Anthropic's usage, in each of its iterations.
func iterationMembers() []elementMember {
	members := []elementMember{{"type", wordType}}
	for _, row := range anthropicUsage {
		members = append(members, elementMember{row.path, leaf(row.quantity)})
	}
	return members
}
