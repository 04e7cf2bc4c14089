package provider

// models are hosts of models whose API is not only OpenAI's.
var models = []Preset{
	{
		Name: "cloudflare", Title: "Cloudflare Workers AI", Accounts: []string{"account"},
		BaseURL:    "https://api.cloudflare.com/client/v4/accounts/{account}",
		Credential: bearer, Env: "CLOUDFLARE_API_TOKEN",
		// The global key, with the user's address, and the key of Origin CA:
		// https://developers.cloudflare.com/fundamentals/api/how-to/make-api-calls/
		AlsoReads: []Placement{{Header: "X-Auth-Key"}, {Header: "X-Auth-User-Service-Key"}, {Header: "X-Auth-Email", Option: true}},
		Routes: append(posts("/ai/v1", "chat/completions", "responses", "embeddings"),
			"POST /ai/run/@cf/{author}/{model}",
			"POST /ai/run/@hf/{author}/{model}",
			"GET /ai/models/search",
		),
		Dialect: "generic", Docs: "https://developers.cloudflare.com/workers-ai/configuration/open-ai-compatibility/",
	},
	{
		Name: "cohere", Title: "Cohere", BaseURL: "https://api.cohere.com", Credential: bearer, Env: "CO_API_KEY",
		// Without /v1/chat, whose connectors and conversations the account stores.
		Routes: append(append(posts("/v2", "chat", "embed", "rerank", "audio/transcriptions"),
			posts("/v1", "embed", "rerank", "classify", "tokenize", "detokenize")...),
			"POST /compatibility/v1/chat/completions",
			"POST /compatibility/v1/embeddings",
			"GET /v1/models",
			"GET /v1/models/{id}",
		),
		Dialect: "generic", Docs: "https://docs.cohere.com/reference/chat",
	},
	{
		Name: "databricks", Title: "Databricks Model Serving", Accounts: []string{"workspace"},
		// On AWS. Elsewhere give the workspace's address as base URL.
		BaseURL:    "https://{workspace}.cloud.databricks.com",
		Credential: bearer, Env: "DATABRICKS_TOKEN",
		Routes: append(posts("/serving-endpoints", "chat/completions", "completions", "embeddings", "responses"),
			"POST /serving-endpoints/{name}/invocations",
		),
		Dialect: "generic", Docs: "https://docs.databricks.com/aws/en/machine-learning/model-serving/score-foundation-models",
	},
	{
		Name: "deepinfra", Title: "DeepInfra", BaseURL: "https://api.deepinfra.com", Credential: bearer, Env: "DEEPINFRA_API_KEY",
		Routes: append(compatibleRoutes("/v1/openai", "chat/completions", "completions", "embeddings", "images/generations",
			"images/edits", "audio/speech", "audio/transcriptions", "audio/translations"),
			"POST /v1/inference/{author}/{model}",
		),
		Dialect: "generic", Docs: "https://deepinfra.com/docs/openai_api",
	},
	{
		Name: "huggingface", Title: "Hugging Face Inference Providers", BaseURL: "https://router.huggingface.co", Credential: bearer, Env: "HF_TOKEN",
		// The organization that is billed.
		AlsoReads: []Placement{{Header: "X-HF-Bill-To", Option: true}},
		Routes: append(compatibleRoutes("/v1", "chat/completions", "responses"),
			"POST /hf-inference/models/{owner}/{model}",
			"POST /hf-inference/models/{owner}/{model}/pipeline/{task}",
		),
		Dialect: "generic", Docs: "https://huggingface.co/docs/inference-providers/index",
	},
	{
		Name: "jina", Title: "Jina AI", BaseURL: "https://api.jina.ai", Credential: bearer, Env: "JINA_API_KEY",
		// Without /v1/train and /v1/classify, which keep classifiers in the account.
		Routes:  posts("/v1", "embeddings", "rerank", "segment"),
		Dialect: "openai", Docs: "https://api.jina.ai/redoc",
	},
	{
		Name: "mixedbread", Title: "Mixedbread", BaseURL: "https://api.mixedbread.com", Credential: bearer, Env: "MXBAI_API_KEY",
		Routes:  posts("/v1", "embeddings", "reranking"),
		Dialect: "openai", Docs: "https://www.mixedbread.com/api-reference",
	},
	{
		Name: "nomic", Title: "Nomic", BaseURL: "https://api-atlas.nomic.ai", Credential: bearer, Env: "NOMIC_API_KEY",
		Routes:  posts("/v1", "embedding/text", "embedding/image"),
		Dialect: "openai", Docs: "https://docs.nomic.ai/reference/api/embed-text-v-1-embedding-text-post",
	},
	{
		Name: "pinecone", Title: "Pinecone Inference", BaseURL: "https://api.pinecone.io", Credential: Placement{Header: "Api-Key"}, Env: "PINECONE_API_KEY",
		AlsoReads: []Placement{bearer, {Header: "X-Project-Id", Option: true}},
		// Without the routes of indexes and assistants.
		Routes:  append(posts("", "embed", "rerank"), "GET /models", "GET /models/{id}"),
		Dialect: "openai", Docs: "https://docs.pinecone.io/reference/api/introduction",
	},
	{
		Name: "voyage", Title: "Voyage AI", BaseURL: "https://api.voyageai.com", Credential: bearer, Env: "VOYAGE_API_KEY",
		Routes:  posts("/v1", "embeddings", "contextualizedembeddings", "multimodalembeddings", "rerank"),
		Dialect: "openai", Docs: "https://docs.voyageai.com/reference/embeddings-api",
	},
	{
		Name: "writer", Title: "Writer", BaseURL: "https://api.writer.com", Credential: bearer, Env: "WRITER_API_KEY",
		// Without applications, graphs and files of the account.
		Routes:  compatibleRoutes("/v1", "chat", "completions"),
		Dialect: "openai", Docs: "https://dev.writer.com/api-reference/completion-api/chat-completion",
	},
}
