package dialect

import "sync"

// quantity is a number in an answer's usage. Providers use different names for one
// quantity, and one name for different quantities. Tables such as [openaiUsage] map the
// names.
type quantity uint8

const (
	noQuantity   quantity = iota
	promptTokens          // input, including cache reads and writes
	inputTokens           // input, including those or not, depending on the other names
	outputTokens          // output, usually including reasoning
	totalTokens           // of input and output

	cachedInside     // cache reads within the prompt
	writtenInside    // cache writes within the prompt
	writtenLong      // of those, for hours
	cachedBeside     // cache reads beside the input
	writtenBeside    // cache writes beside the input
	writtenMinutes   // of those, for five minutes
	writtenHour      // of those, for an hour
	toolPromptTokens // results of hosted tools beside the prompt

	audioIn     // of the prompt
	imageIn     // of the prompt
	cachedAudio // of cachedInside
	cachedImage // of cachedInside
	audioOut    // of the output
	imageOut    // of the output
	textOut     // of the output

	reasoningTokens // of the output
	thoughtTokens   // reasoning beside the output
	processedIn     // input before adjustments of the bill
	processedOut    // output before adjustments of the bill
	searches        // hosted web searches

	milliseconds      // billed time
	audioMilliseconds // length of audio whose tokens are only in the total
	recorded          // length of the recording, used if there is no other usage
	channels          // billed channels of the recording
	socketRecorded    // length in the last message of a socket
	socketChannels    // channels in that message

	nanoUSD     // cost at the provider
	upstreamUSD // cost elsewhere, in nano-USD
	ticks       // cost at the provider, in 10⁻¹⁰ USD

	elementTokens // tokens of one element of a list

	numQuantities
)

// counts holds the quantities of an answer.
type counts struct {
	n   [numQuantities]int64
	has uint64
}

func (c *counts) set(q quantity, n int64) {
	c.n[q] = n
	c.has |= 1 << q
}

func (c *counts) told(q quantity) bool { return c.has&(1<<q) != 0 }

// merge overrides quantities with later ones. A later zero does not erase a number,
// because Anthropic's cumulative counts may contain zeros.
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

// drop removes quantities.
func (c *counts) drop(quantities ...quantity) {
	for _, q := range quantities {
		c.has &^= 1 << q
		c.n[q] = 0
	}
}

// sum adds all quantities of other.
func (c *counts) sum(other *counts) {
	for q := range numQuantities {
		if other.told(q) {
			c.add(q, other.n[q])
		}
	}
}

// unit returns the decimal places that a quantity keeps, and its largest value.
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

// leaf is the meaning of a value at a watched place: a quantity, or one of the words
// below.
type leaf uint8

const (
	wordModel leaf = leaf(numQuantities) + iota
	wordTier
	wordSpeed
	wordType   // the type of an event or of an element
	wordName   // the kind of an element
	wordAction // the action of an output item
	wordError
	wordDone
	wordFinish
	wordCandidate   // the number of a candidate
	wordQuery       // a query of a hosted search
	wordOwnKey      // whether the caller's own key paid for the model
	wordID          // the ID of a response
	wordTranscriber // the model that transcribes a session's input
)

// ending is the action at the end of an object.
type ending uint8

const (
	noEnding       ending = iota
	endOfUsage            // a usage object
	endOfFallback         // a usage object with less detail
	endOfRoot             // the whole value, which may have usage fields too
	endOfPrompt           // an element of Gemini's promptTokensDetails
	endOfCached           // an element of its cacheTokensDetails
	endOfOutput           // an element of its candidatesTokensDetails
	endOfWritten          // an element of Bedrock's cacheDetails
	endOfIteration        // an element of Anthropic's iterations
	endOfItem             // an output item of OpenAI's Responses API
	endOfImage            // an element of a list of images
	endOfResult           // an element of Titan's results
)

// usageMember is a table row: the path of a number and its quantity.
type usageMember struct {
	path     string
	quantity quantity
}

// answerForm describes the answers of one API.
type answerForm struct {
	places   []string // paths of usage objects
	fallback []string // paths of usage objects with less detail
	numbers  [][]usageMember
	elements []elementRow
	words    map[string]leaf // paths of words, besides those of all forms

	merges  bool // each field of a later usage overrides the earlier one
	images  bool // output without details is images
	listens bool // input without details is audio, and its length may count
	speaks  bool // the characters of the request's text may count
	free    bool // calls cost nothing

	// marks are texts that make an event relevant, besides usage and errors.
	marks [][]byte

	watched *node // the graph of all of that; nil until buildGraphs
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

	// anyForm is the form for unknown paths.
	anyForm = &answerForm{
		places: []string{"usage", "usageMetadata", "message.usage", "response.usage", "x_groq.usage", "meta"},
		merges: true,
		marks:  marks("message_stop", "billed_units"),
	}
)

// marks returns texts in quotes.
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

// buildGraphs builds the graphs of all forms when the first meter needs one.
var buildGraphs = sync.OnceFunc(func() {
	usage, fallback := usageTree(endOfUsage), usageTree(endOfFallback)
	for _, f := range answerForms {
		f.watched = f.tree(usage, fallback)
	}
})

// usageTree builds the nodes of a usage object for all providers, because gateways pass
// on each other's fields.
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

// tree builds the nodes of an answer.
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

// addElements adds nodes for lists below n.
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

// adopt adds the members and the ending of other to n.
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

// elementRow is a table row: the path of a list's elements, and their members.
type elementRow struct {
	path    string
	end     ending
	members []elementMember
}

type elementMember struct {
	path string
	leaf leaf
}

// modality lists the members in Gemini's lists of tokens by modality.
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

	// usageWords are the words in a usage object.
	usageWords = map[string]leaf{
		"service_tier": wordTier, "serviceTier": wordTier, "speed": wordSpeed, "is_byok": wordOwnKey,
	}

	// sessionWords are the words of Realtime sessions in both versions of the API.
	sessionWords = map[string]leaf{
		"response.id":   wordID,
		"session.model": wordModel,
		"session.audio.input.transcription.model": wordTranscriber,
		"session.input_audio_transcription.model": wordTranscriber,
	}

	// rootWords are the words of answers and events of all forms.
	rootWords = map[string]leaf{
		"model": wordModel, "message.model": wordModel, "response.model": wordModel,
		"modelVersion": wordModel, "response.modelVersion": wordModel,
		"service_tier": wordTier, "response.service_tier": wordTier, "serviceTier.type": wordTier,
		"type": wordType, "event_type": wordType,
		"error": wordError, "done": wordDone, "candidates[].finishReason": wordFinish, "candidates[].index": wordCandidate,
	}
)

// ollamaUsage maps Ollama's numbers, which are not in a usage object
// (https://docs.ollama.com/api/usage).
var ollamaUsage = []usageMember{
	{"prompt_eval_count", promptTokens},
	{"eval_count", outputTokens},
}

// iterationMembers returns the members of each of Anthropic's iterations.
func iterationMembers() []elementMember {
	members := []elementMember{{"type", wordType}}
	for _, row := range anthropicUsage {
		members = append(members, elementMember{row.path, leaf(row.quantity)})
	}
	return members
}
