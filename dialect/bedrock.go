package dialect

// bedrock has the model in the path
// (https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html),
// but for its OpenAI routes.
var bedrock = &Dialect{
	name:       "bedrock",
	places:     []place{bedrockPlace},
	unrelated:  []string{"additionalModelRequestFields", "additionalModelResponseFieldPaths"},
	containers: []string{"tools", "additionalModelRequestFields"},
}
