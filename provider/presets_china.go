package provider

// china are providers in China, and their hosts elsewhere.
//
// A host in China has no Env where its variable is also that of the host elsewhere: a
// key belongs to one of them.
var china = []Preset{
	{
		Name: "baichuan", Title: "Baichuan", BaseURL: "https://api.baichuan-ai.com", Credential: bearer, Env: "BAICHUAN_API_KEY",
		Routes:  posts("/v1", "chat/completions", "embeddings"),
		Dialect: "openai", Docs: "https://platform.baichuan-ai.com/docs/api",
	},
	{
		// The base URL of BytePlus's SDKs ends in /api/v3.
		Name: "byteplus", Title: "BytePlus ModelArk", BaseURL: "https://ark.ap-southeast.bytepluses.com/api/v3", Credential: bearer,
		Routes:  arkRoutes,
		Dialect: "openai", Docs: "https://docs.byteplus.com/en/docs/ModelArk/1298459",
	},
	{
		// Beijing. "dashscope" is Singapore.
		Name: "dashscope-cn", Title: "Alibaba Cloud Model Studio (DashScope), China", BaseURL: "https://dashscope.aliyuncs.com/compatible-mode",
		Credential: bearer,
		AlsoReads:  []Placement{{Header: "X-DashScope-WorkSpace", Option: true}},
		Routes:     compatibleRoutes("/v1", "chat/completions", "completions", "responses", "embeddings"),
		Dialect:    "openai", Docs: "https://help.aliyun.com/zh/model-studio/compatibility-of-openai-with-dashscope",
	},
	{
		Name: "hunyuan", Title: "Tencent Hunyuan", BaseURL: "https://api.hunyuan.cloud.tencent.com", Credential: bearer, Env: "HUNYUAN_API_KEY",
		Routes:  posts("/v1", "chat/completions", "embeddings"),
		Dialect: "openai", Docs: "https://cloud.tencent.com/document/product/1729/111007",
	},
	{
		Name: "minimax", Title: "MiniMax", BaseURL: "https://api.minimax.io", Credential: bearer, Env: "MINIMAX_API_KEY",
		AlsoReads: minimaxAlso,
		Routes:    minimaxRoutes,
		Dialect:   "openai", Docs: "https://platform.minimax.io/docs/api-reference/api-overview",
	},
	{
		Name: "minimax-cn", Title: "MiniMax, China", BaseURL: "https://api.minimaxi.com", Credential: bearer,
		AlsoReads: minimaxAlso,
		Routes:    minimaxRoutes,
		Dialect:   "openai", Docs: "https://platform.minimaxi.com/docs/api-reference/api-overview",
	},
	{
		Name: "moonshot-cn", Title: "Moonshot AI (Kimi), China", BaseURL: "https://api.moonshot.cn", Credential: bearer,
		AlsoReads: []Placement{xAPIKey}, // on /anthropic
		Routes: append(compatibleRoutes("/v1", "chat/completions", "tokenizers/estimate-token-count"),
			"POST /anthropic/v1/messages"),
		Dialect: "openai", Docs: "https://platform.moonshot.cn/docs/api/chat",
	},
	{
		// The base URL of OpenAI's SDK for it ends in /v2.
		Name: "qianfan", Title: "Baidu Qianfan", BaseURL: "https://qianfan.baidubce.com/v2", Credential: bearer, Env: "QIANFAN_API_KEY",
		AlsoReads: []Placement{{Header: "appid", Option: true}}, // the application that is billed
		Routes:    compatibleRoutes("", "chat/completions", "embeddings", "rerank", "images/generations"),
		Dialect:   "openai", Docs: "https://cloud.baidu.com/doc/qianfan/s/Hmh4suq26",
	},
	{
		Name: "siliconflow", Title: "SiliconFlow", BaseURL: "https://api.siliconflow.com", Credential: bearer, Env: "SILICONFLOW_API_KEY",
		AlsoReads: []Placement{xAPIKey}, // on /v1/messages
		Routes:    siliconflowRoutes,
		Dialect:   "openai", Docs: "https://docs.siliconflow.com/en/api-reference/chat-completions/chat-completions",
	},
	{
		Name: "siliconflow-cn", Title: "SiliconFlow, China", BaseURL: "https://api.siliconflow.cn", Credential: bearer,
		AlsoReads: []Placement{xAPIKey},
		Routes:    siliconflowRoutes,
		Dialect:   "openai", Docs: "https://docs.siliconflow.cn/cn/api-reference/chat-completions/chat-completions",
	},
	{
		Name: "stepfun", Title: "StepFun", BaseURL: "https://api.stepfun.com", Credential: bearer, Env: "STEPFUN_API_KEY",
		AlsoReads: []Placement{xAPIKey}, // on /v1/messages
		// Without /v1/audio/voices, /v1/files and /v1/vector_stores, which the account stores.
		Routes: append(compatibleRoutes("/v1", "chat/completions", "messages", "images/generations", "images/edits", "audio/speech",
			"audio/transcriptions"), "WS /v1/realtime"),
		Dialect: "openai", Docs: "https://platform.stepfun.com/docs/zh/api-reference/chat/chat-completion-create",
	},
	{
		// The base URL of Volcengine's SDKs ends in /api/v3.
		Name: "volcengine", Title: "Volcengine Ark (Doubao)", BaseURL: "https://ark.cn-beijing.volces.com/api/v3", Credential: bearer, Env: "ARK_API_KEY",
		Routes:  arkRoutes,
		Dialect: "openai", Docs: "https://www.volcengine.com/docs/82379/1298459",
	},
	{
		// The base URL of the SDKs ends in /api/paas/v4, or in /api/anthropic.
		Name: "zai", Title: "Z.ai", BaseURL: "https://api.z.ai/api", Credential: bearer, Env: "ZAI_API_KEY",
		AlsoReads: []Placement{xAPIKey}, // on /anthropic
		Routes:    zhipuRoutes,
		Dialect:   "openai", Docs: "https://docs.z.ai/api-reference/introduction",
	},
	{
		Name: "zhipu", Title: "Zhipu AI (BigModel)", BaseURL: "https://open.bigmodel.cn/api", Credential: bearer, Env: "ZHIPUAI_API_KEY",
		AlsoReads: []Placement{xAPIKey},
		Routes:    zhipuRoutes,
		Dialect:   "openai", Docs: "https://docs.bigmodel.cn/cn/api/introduction",
	},
}

var (
	// arkRoutes are without /bots, /context and /contents/generations/tasks, which run
	// or read what the account has stored.
	arkRoutes = posts("", "chat/completions", "responses", "embeddings", "embeddings/multimodal", "images/generations", "tokenization")

	// minimaxAlso has GroupId, the account on older routes.
	minimaxAlso = []Placement{xAPIKey, {Query: "GroupId", Option: true}}

	// minimaxRoutes are without videos, which are jobs, and voices and files.
	minimaxRoutes = append(posts("/v1", "chat/completions", "text/chatcompletion_v2", "t2a_v2", "speech_to_text", "image_generation"),
		"WS /ws/v1/t2a_v2", "POST /anthropic/v1/messages")

	siliconflowRoutes = compatibleRoutes("/v1", "chat/completions", "messages", "embeddings", "rerank", "images/generations", "audio/speech",
		"audio/transcriptions")

	// zhipuRoutes are without /async and videos, which are jobs, and without assistants
	// and files.
	zhipuRoutes = append(posts("/paas/v4", "chat/completions", "embeddings", "rerank", "moderations", "images/generations",
		"audio/speech", "audio/transcriptions", "web_search"),
		"POST /coding/paas/v4/chat/completions", "POST /anthropic/v1/messages")
)
