package dialect

// openai is spoken by OpenAI and by all who are compatible: the model is the
// member «model» of a JSON body or a form
// (https://developers.openai.com/api/reference/resources/chat), and a parameter
// of a Realtime socket, whose messages may change it or name one for transcripts
// (https://developers.openai.com/api/reference/resources/realtime).
//
// A hosted tool may have a model of its own, and the Responses API takes stored
// prompts, which have one too. OpenRouter adds a list of fallbacks, «models», and
// plugins (https://openrouter.ai/docs/api-reference/parameters); Groq's compound
// systems take a model for each of their parts, and LiteLLM fallbacks
// (https://docs.litellm.ai/docs/proxy/reliability).
//
// Compatible gateways also take the model in the path, as OpenAI's first API and
// Azure's do.
var openai = &Dialect{
	name:   "openai",
	places: []place{enginePlace, deploymentPlace},
	lists: []string{
		"/v1/models", "/models", "/api/tags", // DeepSeek has no version, and Ollama an API of its own
		"/v1/language-models", "/v1/image-generation-models", // xAI's
		"/v1/embeddings/models", // OpenRouter's
	},
	query:      []string{"model"},
	inQuery:    func(path string) bool { return path == "/v1/realtime" || path == "/v1/realtime/translations" },
	without:    []string{"/v1/tts", "/v1/stt"}, // xAI's
	containers: []string{"tools", "plugins", "compound_custom", "session", "fallbacks", "context_window_fallbacks", "content_policy_fallbacks"},
	messages:   []string{"session", "response"},
}
