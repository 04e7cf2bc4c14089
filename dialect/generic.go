package dialect

import "slices"

// generic is spoken by providers of which no more is known than their address:
// it looks wherever one of the others has a model, and writes one where OpenAI
// does.
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
