package provider

// xAPIKey is where Anthropic's SDKs put the key, and several providers read it too.
var xAPIKey = Placement{Header: "x-api-key"}

// compatible are hosts of many models whose API is OpenAI's.
var compatible = []Preset{
	{
		Name: "ai21", Title: "AI21 Labs", BaseURL: "https://api.ai21.com/studio", Credential: bearer, Env: "AI21_API_KEY",
		// Without conversational-rag, maestro and library, which read the account's files.
		Routes:  compatibleRoutes("/v1", "chat/completions"),
		Dialect: "openai", Docs: "https://docs.ai21.com/reference/jamba-1-6-api-ref",
	},
	{
		Name: "baseten", Title: "Baseten Model APIs", BaseURL: "https://inference.baseten.co", Credential: bearer, Env: "BASETEN_API_KEY",
		Routes:  compatibleRoutes("/v1", "chat/completions"),
		Dialect: "openai", Docs: "https://docs.baseten.co/inference/model-apis/overview",
	},
	{
		Name: "cerebras", Title: "Cerebras", BaseURL: "https://api.cerebras.ai", Credential: bearer, Env: "CEREBRAS_API_KEY",
		Routes:  append(compatibleRoutes("/v1", "chat/completions", "completions"), "GET /v1/models/{id}"),
		Dialect: "openai", Docs: "https://inference-docs.cerebras.ai/api-reference/chat-completions",
	},
	{
		Name: "featherless", Title: "Featherless AI", BaseURL: "https://api.featherless.ai", Credential: bearer, Env: "FEATHERLESS_API_KEY",
		Routes:  compatibleRoutes("/v1", "chat/completions", "completions"),
		Dialect: "openai", Docs: "https://featherless.ai/docs/api-overview-and-common-options",
	},
	{
		Name: "fireworks", Title: "Fireworks AI", BaseURL: "https://api.fireworks.ai/inference", Credential: bearer, Env: "FIREWORKS_API_KEY",
		AlsoReads: []Placement{xAPIKey}, // on /v1/messages
		Routes:    compatibleRoutes("/v1", "chat/completions", "completions", "responses", "messages", "embeddings", "rerank"),
		Dialect:   "openai", Docs: "https://docs.fireworks.ai/api-reference/introduction",
	},
	{
		Name: "friendli", Title: "Friendli", BaseURL: "https://api.friendli.ai/serverless", Credential: bearer, Env: "FRIENDLI_TOKEN",
		AlsoReads: []Placement{{Header: "X-Friendli-Team", Option: true}},
		Routes:    compatibleRoutes("/v1", "chat/completions", "completions"),
		Dialect:   "openai", Docs: "https://friendli.ai/docs/guides/serverless_endpoints/introduction",
	},
	{
		Name: "github-models", Title: "GitHub Models", BaseURL: "https://models.github.ai", Credential: bearer,
		// Without Env, because GITHUB_TOKEN opens all of GitHub. Use a token that has
		// only the permission "models".
		//
		// Without /orgs/{org}/inference, which bills an organization.
		Routes:  append(posts("/inference", "chat/completions", "embeddings"), "GET /catalog/models"),
		Dialect: "generic", Docs: "https://docs.github.com/en/rest/models/inference",
	},
	{
		Name: "hyperbolic", Title: "Hyperbolic", BaseURL: "https://api.hyperbolic.xyz", Credential: bearer, Env: "HYPERBOLIC_API_KEY",
		Routes:  compatibleRoutes("/v1", "chat/completions", "completions", "image/generation", "audio/generation"),
		Dialect: "openai", Docs: "https://docs.hyperbolic.ai/inference/overview",
	},
	{
		Name: "inception", Title: "Inception", BaseURL: "https://api.inceptionlabs.ai", Credential: bearer, Env: "INCEPTION_API_KEY",
		Routes:  compatibleRoutes("/v1", "chat/completions", "fim/completions", "edit/completions"),
		Dialect: "openai", Docs: "https://platform.inceptionlabs.ai/docs",
	},
	{
		Name: "meta-llama", Title: "Meta Llama API", BaseURL: "https://api.llama.com/compat", Credential: bearer, Env: "LLAMA_API_KEY",
		Routes:  compatibleRoutes("/v1", "chat/completions"),
		Dialect: "openai", Docs: "https://llama.developer.meta.com/docs/features/compatibility",
	},
	{
		Name: "morph", Title: "Morph", BaseURL: "https://api.morphllm.com", Credential: bearer, Env: "MORPH_API_KEY",
		Routes:  posts("/v1", "chat/completions", "embeddings", "rerank"),
		Dialect: "openai", Docs: "https://docs.morphllm.com/api-reference/introduction",
	},
	{
		Name: "nebius", Title: "Nebius Token Factory", BaseURL: "https://api.tokenfactory.nebius.com", Credential: bearer, Env: "NEBIUS_API_KEY",
		AlsoReads: []Placement{{Query: "ai_project_id", Option: true}},
		Routes:    compatibleRoutes("/v1", "chat/completions", "completions", "embeddings", "images/generations"),
		Dialect:   "openai", Docs: "https://docs.tokenfactory.nebius.com/",
	},
	{
		Name: "novita", Title: "Novita AI", BaseURL: "https://api.novita.ai/openai", Credential: bearer, Env: "NOVITA_API_KEY",
		// The documented base URL of SDKs has no version, and the API's reference has.
		Routes: append(compatibleRoutes("", "chat/completions", "completions", "embeddings", "rerank"),
			compatibleRoutes("/v1", "chat/completions", "completions", "embeddings", "rerank")...),
		Dialect: "openai", Docs: "https://novita.ai/docs/api-reference/model-apis-llm-create-chat-completion",
	},
	{
		Name: "nvidia", Title: "NVIDIA NIM", BaseURL: "https://integrate.api.nvidia.com", Credential: bearer, Env: "NVIDIA_API_KEY",
		Routes:  compatibleRoutes("/v1", "chat/completions", "completions", "embeddings"),
		Dialect: "openai", Docs: "https://docs.api.nvidia.com/nim/reference/llm-apis",
	},
	{
		Name: "ollama-cloud", Title: "Ollama Cloud", BaseURL: "https://ollama.com", Credential: bearer, Env: "OLLAMA_API_KEY",
		Routes: []string{
			"POST /api/chat",
			"POST /api/generate",
			"POST /api/web_search",
			"POST /api/web_fetch",
			"POST /v1/chat/completions",
			"POST /v1/completions",
			"GET /api/tags",
			"GET /v1/models",
		},
		Dialect: "openai", Docs: "https://docs.ollama.com/cloud",
	},
	{
		Name: "ovhcloud", Title: "OVHcloud AI Endpoints", BaseURL: "https://oai.endpoints.kepler.ai.cloud.ovh.net", Credential: bearer,
		Env:     "OVH_AI_ENDPOINTS_ACCESS_TOKEN",
		Routes:  compatibleRoutes("/v1", "chat/completions", "completions", "embeddings", "images/generations", "audio/transcriptions"),
		Dialect: "openai", Docs: "https://help.ovhcloud.com/csm/en-public-cloud-ai-endpoints-getting-started",
	},
	{
		Name: "perplexity", Title: "Perplexity", BaseURL: "https://api.perplexity.ai", Credential: bearer, Env: "PERPLEXITY_API_KEY",
		// Without /async, whose answers are stored, and /v1/browser/sessions.
		Routes: append(posts("", "chat/completions", "search"),
			posts("/v1", "responses", "embeddings", "contextualizedembeddings")...),
		Dialect: "openai", Docs: "https://docs.perplexity.ai/api-reference/chat-completions-post",
	},
	{
		Name: "poe", Title: "Poe", BaseURL: "https://api.poe.com", Credential: bearer, Env: "POE_API_KEY",
		Routes:  compatibleRoutes("/v1", "chat/completions", "responses"),
		Dialect: "openai", Docs: "https://creator.poe.com/docs/external-applications/openai-compatible-api",
	},
	{
		Name: "requesty", Title: "Requesty", BaseURL: "https://router.requesty.ai", Credential: bearer, Env: "REQUESTY_API_KEY",
		AlsoReads: []Placement{xAPIKey}, // on /v1/messages
		Routes:    compatibleRoutes("/v1", "chat/completions", "messages", "embeddings"),
		Dialect:   "openai", Docs: "https://docs.requesty.ai/",
	},
	{
		Name: "sambanova", Title: "SambaNova", BaseURL: "https://api.sambanova.ai", Credential: bearer, Env: "SAMBANOVA_API_KEY",
		AlsoReads: []Placement{xAPIKey}, // on /v1/messages
		Routes: append(compatibleRoutes("/v1", "chat/completions", "completions", "responses", "messages", "messages/count_tokens",
			"embeddings", "audio/transcriptions", "audio/translations"), "GET /v1/models/{id}"),
		Dialect: "openai", Docs: "https://docs.sambanova.ai/docs/en/api-reference/overview",
	},
	{
		Name: "scaleway", Title: "Scaleway Generative APIs", BaseURL: "https://api.scaleway.ai", Credential: bearer,
		// Without Env, because SCW_SECRET_KEY, which the SDKs read, is for all of Scaleway.
		Routes:  compatibleRoutes("/v1", "chat/completions", "responses", "embeddings", "rerank", "audio/transcriptions"),
		Dialect: "openai", Docs: "https://www.scaleway.com/en/developers/api/generative-apis/",
	},
	{
		Name: "upstage", Title: "Upstage", BaseURL: "https://api.upstage.ai", Credential: bearer, Env: "UPSTAGE_API_KEY",
		Routes: append(posts("/v1", "chat/completions", "embeddings", "document-digitization"),
			posts("/v1/solar", "chat/completions", "embeddings")...), // the former paths
		Dialect: "openai", Docs: "https://developers.upstage.ai/docs/apis/chat",
	},
	{
		Name: "venice", Title: "Venice AI", BaseURL: "https://api.venice.ai/api", Credential: bearer, Env: "VENICE_API_KEY",
		Routes: compatibleRoutes("/v1", "chat/completions", "embeddings", "images/generations", "image/generate", "image/upscale",
			"image/edit", "audio/speech"),
		Dialect: "openai", Docs: "https://docs.venice.ai/api-reference/api-spec",
	},
	{
		Name: "vercel", Title: "Vercel AI Gateway", BaseURL: "https://ai-gateway.vercel.sh", Credential: bearer, Env: "AI_GATEWAY_API_KEY",
		AlsoReads: []Placement{xAPIKey, {Header: "ai-gateway-auth-method", Option: true}},
		// Without /v4/ai, the gateway's own API: it reads the model from a header.
		Routes:  compatibleRoutes("/v1", "chat/completions", "responses", "messages", "embeddings", "images/generations"),
		Dialect: "openai", Docs: "https://vercel.com/docs/ai-gateway/sdks-and-apis",
	},
	{
		Name: "wandb", Title: "Weights & Biases Inference", BaseURL: "https://api.inference.wandb.ai", Credential: bearer,
		AlsoReads: openaiAccount, // the project whose usage it is
		// Without Env, because WANDB_API_KEY is set wherever experiments are tracked.
		Routes:  compatibleRoutes("/v1", "chat/completions"),
		Dialect: "openai", Docs: "https://docs.wandb.ai/guides/integrations/inference/",
	},
}
