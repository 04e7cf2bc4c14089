package dialect

// cohereUsage are the numbers in Cohere's usage and meta objects
// (https://docs.cohere.com/reference/chat, https://docs.cohere.com/reference/rerank).
// What is billed is billed_units; tokens has what the model read and wrote, with
// Cohere's own additions to the prompt, and counts only where the other is absent.
//
// Cohere has no dialect of its own: a provider with the generic one speaks it by
// its paths.
var cohereUsage = []usageMember{
	{"billed_units.input_tokens", promptTokens},
	{"billed_units.output_tokens", outputTokens},
	{"billed_units.search_units", searches},
	{"billed_units.image_tokens", imageIn},
	{"tokens.input_tokens", processedIn},
	{"tokens.output_tokens", processedOut},
}
