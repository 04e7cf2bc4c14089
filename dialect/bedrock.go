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

// bedrockUsage maps the usage fields of Bedrock. In Converse the input excludes cache reads
// and writes
// (https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html).
// InvokeModel returns each model's own fields
// (https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html), and its
// streams end with metrics for every model.
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

// llamaUsage maps numbers of Llama and Titan, which are not in a usage object.
var llamaUsage = []usageMember{
	{"prompt_token_count", promptTokens},
	{"generation_token_count", outputTokens},
	{"inputTextTokenCount", promptTokens},
	{"totalOutputTextTokenCount", outputTokens},
}

// bedrockHeader lists the headers in which InvokeModel reports usage for every model
// (https://docs.aws.amazon.com/bedrock/latest/userguide/inference-invoke.html).
var bedrockHeader = []struct {
	name     string
	quantity quantity
}{
	{"X-Amzn-Bedrock-Input-Token-Count", inputTokens},
	{"X-Amzn-Bedrock-Output-Token-Count", outputTokens},
	{"X-Amzn-Bedrock-Cache-Read-Input-Token-Count", cachedBeside},
	{"X-Amzn-Bedrock-Cache-Write-Input-Token-Count", writtenBeside},
}
