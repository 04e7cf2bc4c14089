package dialect

import "slices"

// generic is spoken by providers of which only the address is known. It looks
// wherever one of the others has a model, also in the paths of APIs that have no
// dialect of their own, and writes one where OpenAI does.
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
