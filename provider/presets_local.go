package provider

// local are servers on the relay's own machine, at the port where each listens by
// default. They use plain HTTP, because requests do not leave the machine. Most want
// no key; give `api_key {env.X}` where one does.
var local = []Preset{
	{
		Name: "litellm", Title: "LiteLLM Proxy", BaseURL: "http://127.0.0.1:4000", Credential: bearer, NoKey: true,
		// Where it reads its own keys: https://docs.litellm.ai/docs/proxy/virtual_keys
		AlsoReads: []Placement{xAPIKey, {Header: "x-litellm-api-key"}, {Header: "api-key"}, {Header: "x-goog-api-key"},
			{Header: "Ocp-Apim-Subscription-Key"}},
		// Without /key, /user, /team and /model, which administer it, and the routes that
		// pass requests on to a provider as they are.
		Routes:  append(compatibleRoutes("/v1", localPaths("messages", "rerank")...), "GET /v1/models/*", "GET /v1/models/{+id}"),
		Dialect: "openai", Docs: "https://docs.litellm.ai/docs/proxy/user_keys",
	},
	{
		Name: "llama-cpp", Title: "llama.cpp server", BaseURL: "http://127.0.0.1:8080", Credential: bearer, NoKey: true,
		AlsoReads: []Placement{xAPIKey},
		// Without /slots, /props and /lora-adapters, which show others' prompts or change
		// the server.
		Routes: append(compatibleRoutes("/v1", "chat/completions", "completions", "responses", "messages", "messages/count_tokens",
			"embeddings", "rerank"), posts("", "completion", "infill", "embedding", "tokenize", "detokenize", "apply-template")...),
		Dialect: "openai", Docs: "https://github.com/ggml-org/llama.cpp/tree/master/tools/server",
	},
	{
		Name: "lm-studio", Title: "LM Studio", BaseURL: "http://127.0.0.1:1234", Credential: bearer, NoKey: true,
		AlsoReads: []Placement{xAPIKey},
		// Without /api/v1, which loads models and stores chats.
		Routes:  append(compatibleRoutes("/v1", "chat/completions", "completions", "responses", "messages", "embeddings"), "GET /v1/models/*"),
		Dialect: "openai", Docs: "https://lmstudio.ai/docs/developer/openai-compat",
	},
	{
		Name: "localai", Title: "LocalAI", BaseURL: "http://127.0.0.1:8080", Credential: bearer, NoKey: true,
		AlsoReads: []Placement{xAPIKey},
		// Without /models/apply and /backends, which install models.
		Routes:  compatibleRoutes("/v1", localPaths("rerank")...),
		Dialect: "openai", Docs: "https://localai.io/features/",
	},
	{
		Name: "sglang", Title: "SGLang", BaseURL: "http://127.0.0.1:30000", Credential: bearer, NoKey: true,
		// Without /flush_cache and /update_weights_from_disk, which change the server.
		Routes:  append(compatibleRoutes("/v1", "chat/completions", "completions", "responses", "embeddings", "rerank"), "POST /generate"),
		Dialect: "openai", Docs: "https://docs.sglang.ai/basic_usage/openai_api.html",
	},
	{
		Name: "vllm", Title: "vLLM", BaseURL: "http://127.0.0.1:8000", Credential: bearer, NoKey: true,
		// Without /v1/load_lora_adapter and /sleep, which change the server.
		Routes: append(append(compatibleRoutes("/v1", "chat/completions", "completions", "responses", "messages", "messages/count_tokens",
			"embeddings", "rerank", "audio/transcriptions", "audio/translations"),
			posts("", "tokenize", "detokenize", "pooling", "classify", "score", "rerank")...),
			"GET /v1/models/*", // ids have slashes
		),
		Dialect: "openai", Docs: "https://docs.vllm.ai/en/stable/serving/online_serving.html",
	},
}

// localPaths returns the paths of [coreRoutes] below /v1, and more.
func localPaths(more ...string) []string {
	return append(more, "chat/completions", "completions", "responses", "embeddings", "images/generations", "audio/speech",
		"audio/transcriptions")
}
