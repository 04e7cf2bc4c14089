package dialect

// anthropic has the model in the JSON body; a tool of its own, such as the
// advisor, may name another, and so may fallbacks (https://platform.claude.com/docs/en/api/messages).
var anthropic = &Dialect{
	name:       "anthropic",
	lists:      []string{"/v1/models"},
	containers: []string{"tools", "requests", "fallbacks"},
}
