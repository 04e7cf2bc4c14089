package dialect

// anthropic names the model in the JSON body. A hosted tool such as the advisor may
// name another model, and so may fallbacks
// (https://platform.claude.com/docs/en/api/messages).
var anthropic = &Dialect{
	name:       "anthropic",
	lists:      []string{"/v1/models"},
	containers: []string{"tools", "requests", "fallbacks"},
}

// anthropicUsage are the numbers in Anthropic's usage objects
// (https://platform.claude.com/docs/en/api/messages). input_tokens has neither
// what came from the cache nor what went into it, and output_tokens has the
// thinking.
//
// In a stream message_start tells a first usage. That of each message_delta is
// cumulative and may have fewer fields, or zeros in them
// (https://platform.claude.com/docs/en/build-with-claude/streaming). So of each
// field the last one counts that is not zero.
//
// Iterations of the types compaction and advisor_message are billed besides
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
