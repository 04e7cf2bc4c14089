package dialect

// anthropic names the model in the JSON body. A hosted tool such as the advisor may
// name another model, and so may fallbacks
// (https://platform.claude.com/docs/en/api/messages).
var anthropic = &Dialect{
	name:       "anthropic",
	lists:      []string{"/v1/models"},
	containers: []string{"tools", "requests", "fallbacks"},
}

// anthropicUsage maps Anthropic's usage fields
// (https://platform.claude.com/docs/en/api/messages). input_tokens excludes cache reads and
// writes, and output_tokens includes thinking.
//
// In a stream message_start has the first usage. The usage of each message_delta is
// cumulative, but may lack fields or contain zeros
// (https://platform.claude.com/docs/en/build-with-claude/streaming). So the last nonzero
// value of each field counts.
//
// Iterations of the types compaction and advisor_message are billed in addition
// (https://platform.claude.com/docs/en/build-with-claude/compaction).
var anthropicUsage = []usageMember{
	{"input_tokens", inputTokens},
	{"output_tokens", outputTokens},
	{"cache_read_input_tokens", cachedBeside},
	{"cache_creation_input_tokens", writtenBeside},
	{"cache_creation.ephemeral_5m_input_tokens", writtenMinutes},
	{"cache_creation.ephemeral_1h_input_tokens", writtenHour},
	{"output_tokens_details.thinking_tokens", reasoningTokens},
	{"server_tool_use.web_search_requests", searches},
}
