package dialect

// cohereUsage maps the fields of Cohere's usage and meta objects
// (https://docs.cohere.com/reference/chat, https://docs.cohere.com/reference/rerank).
// Cohere bills billed_units. The field tokens includes Cohere's additions to the prompt
// and counts only without billed_units.
//
// Cohere has no dialect of its own. The generic dialect recognizes its paths.
var cohereUsage = []usageMember{
	{"billed_units.input_tokens", promptTokens},
	{"billed_units.output_tokens", outputTokens},
	{"billed_units.search_units", searches},
	{"billed_units.image_tokens", imageIn},
	{"tokens.input_tokens", processedIn},
	{"tokens.output_tokens", processedOut},
}
