package provider

// search are APIs that agents use as tools. Most of their requests name no model, so
// tokens that are bound to models cannot call them.
var search = []Preset{
	{
		Name: "brave-search", Title: "Brave Search", BaseURL: "https://api.search.brave.com", Credential: Placement{Header: "X-Subscription-Token"},
		Env:       "BRAVE_API_KEY",
		AlsoReads: []Placement{bearer}, // as OpenAI's SDKs send it to /res/v1/chat/completions
		Routes: []string{
			"GET /res/v1/web/search",
			"GET /res/v1/news/search",
			"GET /res/v1/images/search",
			"GET /res/v1/videos/search",
			"GET /res/v1/suggest/search",
			"GET /res/v1/spellcheck/search",
			"POST /res/v1/chat/completions",
		},
		Dialect: "generic", Docs: "https://api-dashboard.search.brave.com/app/documentation/web-search/get-started",
	},
	{
		Name: "exa", Title: "Exa", BaseURL: "https://api.exa.ai", Credential: xAPIKey, Env: "EXA_API_KEY",
		AlsoReads: []Placement{bearer}, // as OpenAI's SDKs send it to /chat/completions
		// Without /research, whose results are stored, and /websets.
		Routes:  posts("", "search", "contents", "findSimilar", "answer", "chat/completions"),
		Dialect: "generic", Docs: "https://docs.exa.ai/reference/search",
	},
	{
		Name: "firecrawl", Title: "Firecrawl", BaseURL: "https://api.firecrawl.dev", Credential: bearer, Env: "FIRECRAWL_API_KEY",
		// Without crawls, batches, extracts and agents, which are jobs.
		Routes:  append(posts("/v2", "scrape", "search", "map", "parse"), posts("/v1", "scrape", "search", "map")...),
		Dialect: "generic", Docs: "https://docs.firecrawl.dev/api-reference/v2-introduction",
	},
	{
		Name: "linkup", Title: "Linkup", BaseURL: "https://api.linkup.so", Credential: bearer, Env: "LINKUP_API_KEY",
		Routes:  posts("/v1", "search", "fetch"),
		Dialect: "generic", Docs: "https://docs.linkup.so/pages/documentation/api-reference/endpoint/post-search",
	},
	{
		Name: "tavily", Title: "Tavily", BaseURL: "https://api.tavily.com", Credential: bearer, Env: "TAVILY_API_KEY",
		AlsoReads: []Placement{
			{Header: "X-Project-ID", Option: true},
			{Header: "X-Tavily-Orgid", Option: true},
			{Header: "X-Tavily-Access-Mode", Option: true}, // calls without a key
		},
		// Without /research, whose results are stored.
		Routes:  posts("", "search", "extract", "crawl", "map"),
		Dialect: "generic", Docs: "https://docs.tavily.com/documentation/api-reference/endpoint/search",
	},
	{
		// Without Env, because its SDKs read none. The LLM API has another host,
		// www.wolframalpha.com.
		Name: "wolfram-alpha", Title: "Wolfram|Alpha", BaseURL: "https://api.wolframalpha.com", Credential: Placement{Query: "appid"},
		Routes: []string{
			"GET /v1/result",
			"GET /v1/spoken",
			"GET /v1/simple",
			"GET /v2/query",
		},
		Dialect: "generic", Docs: "https://products.wolframalpha.com/api/documentation",
	},
}
