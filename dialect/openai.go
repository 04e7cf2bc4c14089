package dialect

// openai is the dialect of OpenAI and of compatible providers. The field model of a
// JSON body or a form names the model
// (https://developers.openai.com/api/reference/resources/chat). A Realtime socket has
// a parameter instead, and its messages may change the model or name one for
// transcripts (https://developers.openai.com/api/reference/resources/realtime).
//
// A hosted tool may name its own model, and so does a stored prompt of the Responses
// API. OpenRouter adds plugins and a list of fallbacks, models
// (https://openrouter.ai/docs/api-reference/parameters). Groq's compound systems take
// a model for each part, and LiteLLM takes fallbacks
// (https://docs.litellm.ai/docs/proxy/reliability).
//
// Compatible gateways also accept the model in the path, like OpenAI's first API and
// Azure.
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

// openaiUsage maps the usage fields of OpenAI and compatible providers.
//
// The input includes cache reads and writes, and the output includes reasoning
// (https://developers.openai.com/api/reference/resources/chat,
// https://developers.openai.com/api/reference/resources/responses). Writes are
// billed since GPT-5.6
// (https://learn.microsoft.com/azure/ai-services/openai/how-to/prompt-caching). A cached
// count above the prompt is ignored.
//
// Realtime reports tokens by modality, with cached tokens as a subset of each
// (https://developers.openai.com/api/docs/guides/realtime-costs). Transcriptions report
// tokens or seconds (https://developers.openai.com/api/reference/resources/audio).
//
// DeepSeek reports hits and misses of its cache
// (https://api-docs.deepseek.com/guides/kv_cache). Moonshot has cached_tokens without
// details. Mistral reports the seconds of audio in a prompt
// (https://docs.mistral.ai/capabilities/audio). xAI and Gemini's compatible routes exclude
// reasoning from completion_tokens but not from the total.
//
// OpenRouter reports the cost in USD
// (https://openrouter.ai/docs/use-cases/usage-accounting), which is its fee alone where
// the caller's own key pays for the rest. Perplexity reports it in an object
// (https://docs.perplexity.ai/api-reference/chat-completions-post), and xAI in ticks of
// 10⁻¹⁰ USD (https://docs.x.ai/developers/cost-tracking).
var openaiUsage = []usageMember{
	{"prompt_tokens", promptTokens},
	{"input_tokens", inputTokens},
	{"completion_tokens", outputTokens},
	{"output_tokens", outputTokens},
	{"total_tokens", totalTokens},

	{"prompt_tokens_details.cached_tokens", cachedInside},
	{"prompt_tokens_details.cache_write_tokens", writtenInside},
	{"prompt_tokens_details.audio_tokens", audioIn},
	{"prompt_tokens_details.image_tokens", imageIn},
	{"completion_tokens_details.reasoning_tokens", reasoningTokens},
	{"completion_tokens_details.audio_tokens", audioOut},
	{"completion_tokens_details.image_tokens", imageOut},

	{"input_tokens_details.cached_tokens", cachedInside},
	{"input_tokens_details.cache_write_tokens", writtenInside},
	{"input_tokens_details.cache_write_tokens_details.ttl_12h_tokens", writtenLong},
	{"input_tokens_details.image_tokens", imageIn},
	{"input_tokens_details.audio_tokens", audioIn},
	{"output_tokens_details.reasoning_tokens", reasoningTokens},
	{"output_tokens_details.image_tokens", imageOut},
	{"output_tokens_details.text_tokens", textOut},

	{"input_token_details.cached_tokens", cachedInside},
	{"input_token_details.audio_tokens", audioIn},
	{"input_token_details.image_tokens", imageIn},
	{"input_token_details.cached_tokens_details.audio_tokens", cachedAudio},
	{"input_token_details.cached_tokens_details.image_tokens", cachedImage},
	{"output_token_details.audio_tokens", audioOut},
	{"output_token_details.text_tokens", textOut},
	{"output_token_details.reasoning_tokens", reasoningTokens},

	{"seconds", milliseconds},
	{"prompt_audio_seconds", audioMilliseconds},

	{"prompt_cache_hit_tokens", cachedInside},
	{"cached_tokens", cachedInside},
	{"num_sources_used", searches},
	{"num_search_queries", searches},

	{"cost", nanoUSD},
	{"cost_details.upstream_inference_cost", upstreamUSD},
	{"cost.total_cost", nanoUSD},
	{"cost_in_usd_ticks", ticks},
}

// transcriptionUsage maps the length of the recording. Compatible servers report it instead
// of usage.
var transcriptionUsage = []usageMember{{"duration", recorded}}
