package dialect

import "strings"

// route is a row of a table: requests whose path ends in a text, and the form of
// their answers.
type route struct {
	suffix string
	form   *answerForm
}

// routes are looked through in their order: what is longer comes before what it
// ends in. Providers that are compatible with another have the same paths below
// another beginning.
var routes = []route{
	{"/chat/completions", chatForm},
	{"/completions", chatForm}, // fim too
	{"/responses", responsesForm},
	{"/responses/compact", responsesForm},
	{"/responses/input_tokens", freeForm},
	{"/embeddings", chatForm},
	{"/ocr", chatForm},
	{"/moderations", chatForm}, // Mistral tells tokens; OpenAI's are free
	{"/classifications", chatForm},
	{"/images/generations", imagesForm},
	{"/images/edits", imagesForm},
	{"/images/variations", imagesForm},
	{"/audio/speech", speechForm},
	{"/audio/transcriptions", transcriptionForm},
	{"/audio/translations", transcriptionForm},
	{"/realtime", realtimeForm},
	{"/realtime/translations", realtimeForm},
	{"/tokenize-text", freeForm},
	{"/estimate-token-count", freeForm},

	{"/messages", messagesForm},
	{"/messages/count_tokens", freeForm},

	{":generateContent", geminiForm},
	{":streamGenerateContent", geminiForm},
	{":embedContent", geminiForm},
	{":batchEmbedContents", geminiForm},
	{":countTokens", freeForm},
	{":predict", imagesForm},
	{".BidiGenerateContent", liveForm},

	{"/converse", converseForm},
	{"/converse-stream", converseForm},
	{"/invoke", invokeForm},
	{"/invoke-with-response-stream", invokeForm},
	{"/count-tokens", freeForm},

	{"/v1/listen", deepgramForm},
	{"/v2/listen", deepgramForm},
	{"/v1/speak", speechForm},

	{"/speech-to-text", elevenForm},
	{"/with-timestamps", speechForm},
	{"/v1/text-to-dialogue", speechForm},
	{"/v1/text-to-dialogue/stream", speechForm},
	{"/v1/tts", speechForm}, // xAI's

	{"/api/chat", ollamaForm},
	{"/api/generate", ollamaForm},
	{"/api/embed", ollamaForm},
	{"/api/embeddings", ollamaForm},

	{"/v1/chat", cohereForm},
	{"/v2/chat", cohereForm},
	{"/v1/embed", cohereForm},
	{"/v2/embed", cohereForm},
	{"/rerank", cohereForm},
}

// answerFormOf returns the form of the answers to a request; nil: they tell no
// usage.
func (d *Dialect) answerFormOf(r *Request) *answerForm {
	if r.reads() || d.ListsModels(r) {
		return nil
	}
	path := strings.TrimRight(r.Path, "/")
	for _, row := range routes {
		if strings.HasSuffix(path, row.suffix) {
			return row.form
		}
	}
	switch {
	case d == elevenlabs && strings.Contains(path, "/text-to-speech/"):
		return speechForm
	case d == generic:
		return anyForm
	}
	return nil
}
