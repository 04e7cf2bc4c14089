package dialect

// gemini has the model in the path, and in bodies that hold requests
// (https://ai.google.dev/api/generate-content); a Live socket's first message
// names it (https://ai.google.dev/api/live). Names may be written as resources,
// «models/x».
var gemini = &Dialect{
	name:       "gemini",
	places:     []place{geminiPlace, tunedPlace, endpointPlace},
	lists:      []string{"/v1beta/models", "/v1/models", "/v1alpha/models", "/v1beta/openai/models"},
	containers: []string{"tools", "requests", "generateContentRequest", "generate_content_request"},
	prefix:     "models/",
	messages:   []string{"setup"},
}
