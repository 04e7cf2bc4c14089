package dialect

// azure names a deployment instead of a model: in the path, in the query of a
// Realtime socket, or in OpenAI's places
// (https://learn.microsoft.com/azure/ai-services/openai/reference).
var azure = &Dialect{
	name:       "azure",
	places:     []place{{start: "/openai/deployments/", length: toSlash}},
	lists:      []string{"/openai/v1/models", "/openai/models"},
	query:      []string{"model", "deployment"},
	inQuery:    func(path string) bool { return path == "/openai/realtime" || path == "/openai/v1/realtime" },
	containers: []string{"tools", "session"},
	messages:   []string{"session", "response"},
}
