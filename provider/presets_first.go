package provider

import "slices"

// openaiAccount selects the organization and the project that OpenAI bills.
var openaiAccount = []Placement{
	{Header: "OpenAI-Organization", Option: true},
	{Header: "OpenAI-Project", Option: true},
}

// coreRoutes are the OpenAI routes that compatible servers have as well.
var coreRoutes = []string{
	"POST /v1/chat/completions",
	"POST /v1/completions",
	"POST /v1/responses",
	"POST /v1/embeddings",
	"POST /v1/moderations",
	"POST /v1/images/generations",
	"POST /v1/images/edits",
	"POST /v1/audio/speech",
	"POST /v1/audio/transcriptions",
	"POST /v1/audio/translations",
}

// googleAlso are Google's system parameters, with and without the dollar sign and under
// former names: https://cloud.google.com/apis/docs/system-parameters. One of them
// overrides the method of a request after the relay has checked it.
var googleAlso = []Placement{
	{Query: "key"},
	{Query: "$key"},
	{Query: "access_token"},
	{Query: "oauth_token"},
	{Header: "X-Goog-User-Project", Option: true},
	{Query: "$userProject", Option: true},
	{Query: "userProject", Option: true},
	{Header: "X-HTTP-Method-Override", Option: true},
	{Query: "$httpMethod", Option: true},
}

// vertexRoutes returns the routes of a version of Vertex AI. Claude's are
// https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/use-claude.
//
// predict is for embeddings and images. predictLongRunning is a job, whose result is
// stored.
func vertexRoutes(version string) []string {
	location := "/" + version + "/projects/{project}/locations/{location}"
	return posts(location, "publishers/google/models/*:generateContent", "publishers/google/models/*:streamGenerateContent",
		"publishers/google/models/*:countTokens", "publishers/google/models/*:predict",
		"publishers/anthropic/models/*:rawPredict", "publishers/anthropic/models/*:streamRawPredict",
		"endpoints/openapi/chat/completions")
}

// first are the providers that the relay began with.
var first = []Preset{
	{
		Name:       "anthropic",
		Title:      "Anthropic",
		BaseURL:    "https://api.anthropic.com",
		Credential: Placement{Header: "x-api-key"},
		AlsoReads: []Placement{
			bearer, // OAuth tokens, ANTHROPIC_AUTH_TOKEN in the SDKs
			{Header: "anthropic-workspace-id", Option: true},
		},
		Env: "ANTHROPIC_API_KEY",
		Routes: []string{
			"POST /v1/messages",
			"POST /v1/messages/count_tokens",
			"POST /v1/complete",
			"GET /v1/models",
			"GET /v1/models/{id}",
		},
		Dialect: "anthropic",
		Docs:    "https://platform.claude.com/docs/en/api/overview",
	},
	{
		Name:       "azure-openai",
		Title:      "Azure OpenAI",
		BaseURL:    "https://{resource}.openai.azure.com",
		Accounts:   []string{"resource"},
		Credential: Placement{Header: "api-key"},
		AlsoReads: []Placement{
			bearer, // Microsoft Entra ID
			// Realtime reads the key from the query, for browsers:
			// https://learn.microsoft.com/azure/ai-services/openai/how-to/realtime-audio-websockets
			{Query: "api-key"},
			{Query: "Authorization"}, // "Bearer …": OpenAI's SDK sends Entra ID tokens so from browsers
			// The gateway of all Azure AI services:
			// https://learn.microsoft.com/azure/ai-services/authentication
			{Header: "Ocp-Apim-Subscription-Key"},
			{Query: "subscription-key"},
		},
		Env: "AZURE_OPENAI_API_KEY",
		Routes: []string{
			"POST /openai/v1/chat/completions",
			"POST /openai/v1/completions",
			"POST /openai/v1/responses",
			"POST /openai/v1/embeddings",
			"POST /openai/v1/images/generations",
			"POST /openai/v1/images/edits",
			"POST /openai/v1/audio/speech",
			"POST /openai/v1/audio/transcriptions",
			"POST /openai/v1/audio/translations",
			"WS /openai/v1/realtime",
			// https://learn.microsoft.com/azure/foundry/openai/how-to/websockets
			"WS /openai/v1/responses",
			"GET /openai/v1/models",
			"GET /openai/v1/models/{id}",

			// These take an api-version. The deployment is in the path, except for
			// APIs that are newer than that scheme.
			"POST /openai/deployments/*/chat/completions",
			"POST /openai/deployments/*/completions",
			"POST /openai/deployments/*/embeddings",
			"POST /openai/deployments/*/images/generations",
			"POST /openai/deployments/*/images/edits",
			"POST /openai/deployments/*/audio/speech",
			"POST /openai/deployments/*/audio/transcriptions",
			"POST /openai/deployments/*/audio/translations",
			"POST /openai/responses",
			"WS /openai/realtime",
			"GET /openai/models",
			"GET /openai/models/{id}",
		},
		Dialect: "azure",
		Docs:    "https://learn.microsoft.com/azure/ai-services/openai/reference",
	},
	{
		Name:       "bedrock",
		Title:      "Amazon Bedrock",
		BaseURL:    "https://bedrock-runtime.{region}.amazonaws.com",
		Accounts:   []string{"region"},
		Credential: bearer,
		// A request may be signed in its query.
		AlsoReads: []Placement{
			{Header: "X-Amz-Security-Token"},
			{Query: "X-Amz-Algorithm", Option: true},
			{Query: "X-Amz-Credential", Option: true},
			{Query: "X-Amz-Signature", Option: true},
			{Query: "X-Amz-Security-Token"},
		},
		Env: "AWS_BEARER_TOKEN_BEDROCK",
		// A model may be the ARN of an inference profile, with its slash escaped.
		// Another host lists the models.
		//
		// invoke-with-bidirectional-stream accepts no API key, and async-invoke writes
		// to the account's storage.
		Routes: []string{
			"POST /model/*/invoke",
			"POST /model/*/invoke-with-response-stream",
			"POST /model/*/converse",
			"POST /model/*/converse-stream",
			"POST /model/*/count-tokens",
			"POST /openai/v1/chat/completions",
			"POST /openai/v1/responses",
		},
		Dialect: "bedrock",
		Docs:    "https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys-use.html",
	},
	{
		Name:  "dashscope",
		Title: "Alibaba Cloud Model Studio (DashScope)",
		// Singapore. A key belongs to one region. The hosts of Beijing and Virginia
		// are dashscope.aliyuncs.com and dashscope-us.aliyuncs.com.
		BaseURL:    "https://dashscope-intl.aliyuncs.com/compatible-mode",
		Credential: bearer,
		AlsoReads:  []Placement{{Header: "X-DashScope-WorkSpace", Option: true}},
		Env:        "DASHSCOPE_API_KEY",
		Routes: []string{
			"POST /v1/chat/completions",
			"POST /v1/completions",
			"POST /v1/responses",
			"POST /v1/embeddings",
			"GET /v1/models",
		},
		Dialect: "openai",
		Docs:    "https://www.alibabacloud.com/help/en/model-studio/compatibility-of-openai-with-dashscope",
	},
	{
		Name:       "deepgram",
		Title:      "Deepgram",
		BaseURL:    "https://api.deepgram.com",
		Credential: Placement{Header: "Authorization", Prefix: "Token "},
		AlsoReads: []Placement{
			bearer, // temporary tokens
			{Query: "token"},
			{Query: "access_token"},
			// This sends the answer to another address, past the relay:
			// https://developers.deepgram.com/docs/callback
			{Query: "callback", Option: true},
			{Query: "callback_method", Option: true},
		},
		Env: "DEEPGRAM_API_KEY",
		Routes: []string{
			"POST /v1/listen",
			"WS /v1/listen",
			"WS /v2/listen",
			"POST /v1/speak",
			"WS /v1/speak",
			"POST /v1/read",
			// The public models. The account's own are below /v1/projects.
			"GET /v1/models",
			"GET /v1/models/{id}",
		},
		Dialect: "deepgram",
		Docs:    "https://developers.deepgram.com/reference/authentication",
	},
	{
		Name:       "deepseek",
		Title:      "DeepSeek",
		BaseURL:    "https://api.deepseek.com",
		Credential: bearer,
		AlsoReads:  []Placement{{Header: "x-api-key"}}, // on /anthropic
		Env:        "DEEPSEEK_API_KEY",
		// The documented base URL has no version. /v1 exists for OpenAI's SDKs and
		// means the same.
		Routes: []string{
			"POST /chat/completions",
			"POST /v1/chat/completions",
			"POST /beta/chat/completions",
			"POST /beta/completions",
			"POST /anthropic/v1/messages",
			"GET /models",
			"GET /v1/models",
		},
		Dialect: "openai",
		Docs:    "https://api-docs.deepseek.com/",
	},
	{
		Name:       "elevenlabs",
		Title:      "ElevenLabs",
		BaseURL:    "https://api.elevenlabs.io",
		Credential: Placement{Header: "xi-api-key"},
		// WebSockets read what a browser can send.
		AlsoReads: []Placement{
			bearer,
			{Query: "xi-api-key"},
			{Query: "authorization"},
			{Query: "single_use_token"},
			{Query: "token"},
		},
		Env: "ELEVENLABS_API_KEY",
		Routes: []string{
			"POST /v1/text-to-speech/{voice}",
			"POST /v1/text-to-speech/{voice}/with-timestamps",
			"POST /v1/text-to-speech/{voice}/stream",
			"POST /v1/text-to-speech/{voice}/stream/with-timestamps",
			"WS /v1/text-to-speech/{voice}/stream-input",
			"WS /v1/text-to-speech/{voice}/multi-stream-input",
			"POST /v1/text-to-dialogue",
			"POST /v1/text-to-dialogue/stream",
			"POST /v1/speech-to-speech/{voice}",
			"POST /v1/speech-to-speech/{voice}/stream",
			"POST /v1/speech-to-text",
			"WS /v1/speech-to-text/realtime",
			"GET /v1/models",
			"POST /v1/sound-generation",
			"POST /v1/audio-isolation",
			"POST /v1/audio-isolation/stream",
		},
		Dialect: "elevenlabs",
		Docs:    "https://elevenlabs.io/docs/api-reference/authentication",
	},
	{
		Name:       "gemini",
		Title:      "Google Gemini API",
		BaseURL:    "https://generativelanguage.googleapis.com",
		Credential: Placement{Header: "x-goog-api-key"},
		AlsoReads:  append([]Placement{bearer}, googleAlso...),
		// The SDKs read GOOGLE_API_KEY too, but other Google services use that name
		// as well.
		Env: "GEMINI_API_KEY",
		// Only models/*, because tunedModels/* are the account's own.
		Routes: []string{
			"POST /v1beta/models/*:generateContent",
			"POST /v1beta/models/*:streamGenerateContent",
			"POST /v1beta/models/*:embedContent",
			"POST /v1beta/models/*:batchEmbedContents",
			"POST /v1beta/models/*:countTokens",
			"POST /v1beta/models/*:predict",

			"POST /v1/models/*:generateContent",
			"POST /v1/models/*:streamGenerateContent",
			"POST /v1/models/*:embedContent",
			"POST /v1/models/*:batchEmbedContents",
			"POST /v1/models/*:countTokens",

			"POST /v1beta/openai/chat/completions",
			"POST /v1beta/openai/embeddings",
			"POST /v1beta/openai/images/generations",

			// A model is one segment, and its operations are below it. OpenAI's SDK
			// asks for "models/<id>", which is two segments.
			"GET /v1beta/models",
			"GET /v1beta/models/{id}",
			"GET /v1/models",
			"GET /v1/models/{id}",
			"GET /v1beta/openai/models",
			"GET /v1beta/openai/models/*",
			"GET /v1beta/openai/models/{+id}",

			// The Live API, without BidiGenerateContentConstrained, which is for
			// Google's own ephemeral tokens.
			"WS /ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
			"WS /ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContent",
		},
		Dialect: "gemini",
		Docs:    "https://ai.google.dev/api",
	},
	{
		Name:       "groq",
		Title:      "Groq",
		BaseURL:    "https://api.groq.com/openai",
		Credential: bearer,
		Env:        "GROQ_API_KEY",
		Routes: []string{
			"POST /v1/chat/completions",
			"POST /v1/responses",
			"POST /v1/embeddings",
			"POST /v1/audio/speech",
			"POST /v1/audio/transcriptions",
			"POST /v1/audio/translations",
			"GET /v1/models",
			"GET /v1/models/*", // ids have slashes
			"GET /v1/models/{+id}",
		},
		Dialect: "openai",
		Docs:    "https://console.groq.com/docs/api-reference",
	},
	{
		Name:       "mistral",
		Title:      "Mistral AI",
		BaseURL:    "https://api.mistral.ai",
		Credential: bearer,
		AlsoReads:  []Placement{{Header: "x-api-key"}},
		Env:        "MISTRAL_API_KEY",
		// Without /v1/agents/completions and /v1/conversations, which run what the
		// account has stored.
		Routes: []string{
			"POST /v1/chat/completions",
			"POST /v1/fim/completions",
			"POST /v1/embeddings",
			"POST /v1/moderations",
			"POST /v1/chat/moderations",
			"POST /v1/classifications",
			"POST /v1/chat/classifications",
			"POST /v1/ocr",
			"POST /v1/audio/speech",
			"POST /v1/audio/transcriptions",
			"GET /v1/models",
			"GET /v1/models/{id}",
		},
		Dialect: "openai",
		Docs:    "https://docs.mistral.ai/api/",
	},
	{
		Name:       "moonshot",
		Title:      "Moonshot AI (Kimi)",
		BaseURL:    "https://api.moonshot.ai",
		Credential: bearer,
		AlsoReads:  []Placement{{Header: "x-api-key"}}, // on /anthropic
		Env:        "MOONSHOT_API_KEY",
		Routes: []string{
			"POST /v1/chat/completions",
			"POST /v1/tokenizers/estimate-token-count",
			"POST /anthropic/v1/messages",
			"GET /v1/models",
		},
		Dialect: "openai",
		Docs:    "https://platform.kimi.ai/docs/overview",
	},
	{
		Name:  "ollama",
		Title: "Ollama",
		// Plain HTTP, because requests do not leave the machine.
		BaseURL:    "http://127.0.0.1:11434",
		Credential: bearer, // for an Ollama behind a proxy that wants a key
		// Without Env, because OLLAMA_API_KEY, which the SDKs read, is for
		// ollama.com and not for this address.
		NoKey: true,
		// Without /api/pull, /api/create and /api/delete, which change what is
		// installed, and /api/show, which returns a model's system prompt.
		Routes: []string{
			"POST /api/chat",
			"POST /api/generate",
			"POST /api/embed",
			"POST /api/embeddings",
			"POST /v1/chat/completions",
			"POST /v1/completions",
			"POST /v1/responses",
			"POST /v1/embeddings",
			"POST /v1/messages",
			"GET /api/tags",
			"GET /v1/models",
			"GET /v1/models/*", // ids have slashes
			"GET /v1/models/{+id}",
		},
		Dialect: "openai",
		Docs:    "https://docs.ollama.com/api/introduction",
	},
	{
		Name:       "openai",
		Title:      "OpenAI",
		BaseURL:    "https://api.openai.com",
		Credential: bearer,
		AlsoReads: append([]Placement{
			{Query: "call_id", Option: true}, // a WebSocket would join a call whose media go past the relay
		}, openaiAccount...),
		Env: "OPENAI_API_KEY",
		Routes: append([]string{
			"POST /v1/responses/compact",
			"POST /v1/responses/input_tokens",
			"POST /v1/images/variations",
			"WS /v1/realtime",
			"WS /v1/realtime/translations",
			"WS /v1/responses", // https://developers.openai.com/api/docs/guides/websocket-mode
			"GET /v1/models",
			"GET /v1/models/{id}",
		}, coreRoutes...),
		Dialect: "openai",
		Docs:    "https://developers.openai.com/api/reference/overview",
	},
	{
		Name:  "openai-compatible",
		Title: "OpenAI-compatible server",
		// The operator's base URL ends before /v1.
		Credential: bearer,
		AlsoReads:  openaiAccount,
		Routes: append([]string{
			"POST /v1/rerank",
			"GET /v1/models",
			"GET /v1/models/*", // ids may have slashes
			"GET /v1/models/{+id}",
		}, coreRoutes...),
		Dialect: "openai",
		Docs:    "https://developers.openai.com/api/reference/overview",
	},
	{
		Name:       "openrouter",
		Title:      "OpenRouter",
		BaseURL:    "https://openrouter.ai/api",
		Credential: bearer,
		AlsoReads:  []Placement{{Header: "x-api-key"}}, // as Anthropic's SDKs send it to /v1/messages
		Env:        "OPENROUTER_API_KEY",
		Routes: []string{
			"POST /v1/chat/completions",
			"POST /v1/completions",
			"POST /v1/responses",
			"POST /v1/messages",
			"POST /v1/embeddings",
			"POST /v1/audio/speech",
			"POST /v1/audio/transcriptions",
			"GET /v1/models",
			"GET /v1/models/*", // ids have slashes
			"GET /v1/models/{+id}",
			"GET /v1/embeddings/models",
		},
		Dialect: "openai",
		Docs:    "https://openrouter.ai/docs/api-reference/overview",
	},
	{
		Name:       "together",
		Title:      "Together AI",
		BaseURL:    "https://api.together.xyz",
		Credential: bearer,
		Env:        "TOGETHER_API_KEY",
		Routes: []string{
			"POST /v1/chat/completions",
			"POST /v1/completions",
			"POST /v1/embeddings",
			"POST /v1/rerank",
			"POST /v1/images/generations",
			"POST /v1/audio/speech",
			"POST /v1/audio/transcriptions",
			"POST /v1/audio/translations",
			"GET /v1/models",
		},
		Dialect: "openai",
		Docs:    "https://docs.together.ai/reference/chat-completions",
	},
	{
		Name:  "vertex",
		Title: "Google Vertex AI",
		// One region. For the location global the base URL is
		// https://aiplatform.googleapis.com.
		BaseURL:    "https://{location}-aiplatform.googleapis.com",
		Accounts:   []string{"project", "location"},
		Credential: bearer,
		AlsoReads:  append([]Placement{{Header: "x-goog-api-key"}}, googleAlso...),
		// The project and the location are those of the config, because the credential
		// may reach others. Models are those of publishers; endpoints/* are the account's
		// own, but for openapi, which is OpenAI's form of all models.
		Routes: slices.Concat(vertexRoutes("v1"), vertexRoutes("v1beta1")),
		// The model is in the path. Each publisher has a form of its own.
		Dialect: "generic",
		Docs:    "https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference",
	},
	{
		Name:       "xai",
		Title:      "xAI",
		BaseURL:    "https://api.x.ai",
		Credential: bearer,
		AlsoReads:  []Placement{{Header: "x-api-key"}}, // as Anthropic's SDKs send it to /v1/messages
		Env:        "XAI_API_KEY",
		Routes: []string{
			"POST /v1/chat/completions",
			"POST /v1/completions",
			"POST /v1/responses",
			"POST /v1/messages",
			"POST /v1/images/generations",
			"POST /v1/images/edits",
			"POST /v1/tokenize-text",
			"POST /v1/tts",
			"POST /v1/stt",
			"WS /v1/stt",
			"WS /v1/realtime",
			"WS /v1/responses", // https://docs.x.ai/developers/advanced-api-usage/websocket-mode
			"GET /v1/models",
			"GET /v1/models/{id}",
		},
		Dialect: "openai",
		Docs:    "https://docs.x.ai/developers/rest-api-reference/inference",
	},
}
