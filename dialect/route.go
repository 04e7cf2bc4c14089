package dialect

import "strings"

// route is a table row for requests whose path has a suffix.
type route struct {
	suffix string
	form   *answerForm
	bounds *bounds // nil means that the cost has no bound
}

// routes is searched in order, so a longer suffix precedes one that it ends in. It
// matches suffixes because compatible providers use the same paths below a prefix.
var routes = []route{
	{"/chat/completions", chatForm, chatBounds},
	{"/completions", chatForm, completionBounds}, // fim too
	{"/responses", responsesForm, responsesBounds},
	{"/responses/compact", responsesForm, nil},
	{"/responses/input_tokens", freeForm, freeBounds},
	{"/embeddings", chatForm, embeddingBounds},
	{"/ocr", chatForm, nil},
	{"/moderations", chatForm, embeddingBounds}, // Mistral reports tokens; OpenAI's are free
	{"/classifications", chatForm, nil},
	{"/images/generations", imagesForm, imageBounds},
	{"/images/edits", imagesForm, editBounds},
	{"/images/variations", imagesForm, nil},
	{"/audio/speech", speechForm, speechBounds},
	{"/audio/transcriptions", transcriptionForm, transcriptionBounds},
	{"/audio/translations", transcriptionForm, transcriptionBounds},
	{"/realtime", realtimeForm, nil},
	{"/realtime/translations", realtimeForm, nil},
	{"/tokenize-text", freeForm, freeBounds},
	{"/estimate-token-count", freeForm, freeBounds},

	{"/messages", messagesForm, messagesBounds},
	{"/messages/count_tokens", freeForm, freeBounds},

	{":generateContent", geminiForm, geminiBounds},
	{":streamGenerateContent", geminiForm, geminiBounds},
	{":embedContent", geminiForm, geminiEmbeddingBounds},
	{":batchEmbedContents", geminiForm, geminiEmbeddingBounds},
	{":countTokens", freeForm, freeBounds},
	{":predict", imagesForm, nil},
	{".BidiGenerateContent", liveForm, nil},

	{"/converse", converseForm, converseBounds},
	{"/converse-stream", converseForm, converseBounds},
	{"/invoke", invokeForm, invokeBounds},
	{"/invoke-with-response-stream", invokeForm, invokeBounds},
	{"/count-tokens", freeForm, freeBounds},

	{"/v1/listen", deepgramForm, nil},
	{"/v2/listen", deepgramForm, nil},
	{"/v1/speak", speechForm, nil},

	{"/speech-to-text", elevenForm, nil},
	{"/with-timestamps", speechForm, nil},
	{"/v1/text-to-dialogue", speechForm, nil},
	{"/v1/text-to-dialogue/stream", speechForm, nil},
	{"/v1/tts", speechForm, nil}, // xAI's

	{"/api/chat", ollamaForm, nil},
	{"/api/generate", ollamaForm, nil},
	{"/api/embed", ollamaForm, nil},
	{"/api/embeddings", ollamaForm, nil},

	{"/v1/chat", cohereForm, nil},
	{"/v2/chat", cohereForm, nil},
	{"/v1/embed", cohereForm, nil},
	{"/v2/embed", cohereForm, nil},
	{"/rerank", cohereForm, nil},
}

// routeOf returns the table row for a request, or nil.
func (d *Dialect) routeOf(r *Request) *route {
	if r.reads() || d.ListsModels(r) {
		return nil
	}
	path := strings.TrimRight(r.Path, "/")
	for i, row := range routes {
		if strings.HasSuffix(path, row.suffix) {
			return &routes[i]
		}
	}
	switch {
	case d == elevenlabs && strings.Contains(path, "/text-to-speech/"):
		return &speechRoute
	case d == generic:
		return &anyRoute
	}
	return nil
}

// Routes that have no suffix.
var (
	speechRoute = route{form: speechForm}
	anyRoute    = route{form: anyForm}
)

// AnswersUnnamed reports whether the answer to a request has its usage but not the
// model that served it. The request must then name the model for a price to be known.
func (d *Dialect) AnswersUnnamed(r *Request) bool {
	row := d.routeOf(r)
	if row == nil {
		return false
	}
	switch row.form {
	case imagesForm, speechForm, transcriptionForm, converseForm, invokeForm, elevenForm, deepgramForm, cohereForm:
		return true
	}
	return false
}

// Specific reports whether the package knows a request's route, as opposed to a route
// of an unknown API.
func (d *Dialect) Specific(r *Request) bool {
	row := d.routeOf(r)
	return row != nil && row != &anyRoute && !row.form.free
}
