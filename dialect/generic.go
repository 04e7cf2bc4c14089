package dialect

import "slices"

// generic is the dialect of providers that are known only by their address. It searches
// the places of all other dialects and the paths of APIs without a dialect. It writes
// the model where OpenAI reads it.
var generic = &Dialect{
	name: "generic",
	places: []place{
		enginePlace, deploymentPlace, bedrockPlace, modelsPlace, tunedPlace, endpointPlace,
		servingPlace, runPlace, inferencePlace, upstreamPlace,
	},
	listsAnywhere: true,
	query:         []string{"model", "model_id", "deployment"},
	containers:    slices.Concat(openai.containers, azure.containers, gemini.containers, anthropic.containers),
	messages:      slices.Concat(openai.messages, gemini.messages),
}
