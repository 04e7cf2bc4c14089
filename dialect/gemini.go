package dialect

// gemini names the model in the path, and in the requests of a batch
// (https://ai.google.dev/api/generate-content). The first message of a Live socket
// names it too (https://ai.google.dev/api/live). Names may have the prefix models/.
var gemini = &Dialect{
	name:       "gemini",
	places:     []place{geminiPlace, tunedPlace, endpointPlace},
	lists:      []string{"/v1beta/models", "/v1/models", "/v1alpha/models", "/v1beta/openai/models"},
	containers: []string{"tools", "requests", "generateContentRequest", "generate_content_request"},
	prefix:     "models/",
	messages:   []string{"setup"},
}

// geminiUsage maps the fields of Gemini's usageMetadata
// (https://ai.google.dev/api/generate-content#UsageMetadata). The prompt includes cache
// reads but not the results of hosted tools. The candidates exclude thoughts. Lists report
// tokens by modality. Every chunk of a stream repeats the whole usage, so the last one
// counts, never a sum.
//
// Searches are the queries that ground an answer
// (https://ai.google.dev/gemini-api/docs/google-search). Live names the output
// responseTokenCount (https://ai.google.dev/api/live#UsageMetadata).
var geminiUsage = []usageMember{
	{"promptTokenCount", promptTokens},
	{"candidatesTokenCount", outputTokens},
	{"responseTokenCount", outputTokens},
	{"thoughtsTokenCount", thoughtTokens},
	{"cachedContentTokenCount", cachedInside},
	{"toolUsePromptTokenCount", toolPromptTokens},
}
