package dialect

// bedrock names the model in the path
// (https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html),
// except on its OpenAI routes.
var bedrock = &Dialect{
	name:       "bedrock",
	places:     []place{bedrockPlace},
	unrelated:  []string{"additionalModelRequestFields", "additionalModelResponseFieldPaths"},
	containers: []string{"tools", "additionalModelRequestFields"},
}

// bedrockUsage are the numbers in Bedrock's usage objects: Converse's, in which
// the input has nothing of the cache
// (https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html),
// and those of the models that InvokeModel runs, which otherwise are their
// makers' own
// (https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html).
// Streams of InvokeModel end in metrics for every model.
var bedrockUsage = []usageMember{
	{"inputTokens", inputTokens},
	{"outputTokens", outputTokens},
	{"cacheReadInputTokens", cachedBeside},
	{"cacheWriteInputTokens", writtenBeside},

	{"cacheReadInputTokenCount", cachedBeside}, // Nova, and the metrics
	{"cacheWriteInputTokenCount", writtenBeside},
	{"inputTokenCount", inputTokens}, // the metrics
	{"outputTokenCount", outputTokens},
}

// llamaUsage are numbers that Llama and Titan have in the answer's own object.
var llamaUsage = []usageMember{
	{"prompt_token_count", promptTokens},
	{"generation_token_count", outputTokens},
	{"inputTextTokenCount", promptTokens},
	{"totalOutputTextTokenCount", outputTokens},
}

// bedrockHeader are the headers in which InvokeModel tells usage, whatever the
// model (https://docs.aws.amazon.com/bedrock/latest/userguide/inference-invoke.html).
var bedrockHeader = []struct {
	name     string
	quantity quantity
}{
	{"X-Amzn-Bedrock-Input-Token-Count", inputTokens},
	{"X-Amzn-Bedrock-Output-Token-Count", outputTokens},
	{"X-Amzn-Bedrock-Cache-Read-Input-Token-Count", cachedBeside},
	{"X-Amzn-Bedrock-Cache-Write-Input-Token-Count", writtenBeside},
}
