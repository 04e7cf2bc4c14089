package provider

// speech are providers of speech and translation. Their sockets often read a token
// from the query, which a browser can send.
var speech = []Preset{
	{
		// The transcription of recordings is a job of another host, api.assemblyai.com.
		Name: "assemblyai", Title: "AssemblyAI Streaming", BaseURL: "https://streaming.assemblyai.com",
		Credential: Placement{Header: "Authorization"}, Env: "ASSEMBLYAI_API_KEY",
		AlsoReads: []Placement{{Query: "token"}},
		// Without /v3/token, which mints tokens.
		Routes:  []string{"WS /v3/ws"},
		Dialect: "generic", Docs: "https://www.assemblyai.com/docs/api-reference/streaming-api/streaming-api",
	},
	{
		Name: "cartesia", Title: "Cartesia", BaseURL: "https://api.cartesia.ai", Credential: bearer, Env: "CARTESIA_API_KEY",
		AlsoReads: []Placement{{Header: "X-API-Key"}, {Query: "api_key"}, {Query: "access_token"}},
		// Without /access-token, which mints tokens, and voices, agents and datasets of
		// the account.
		Routes: append(posts("", "tts/bytes", "tts/sse", "stt", "voice-changer/bytes", "voice-changer/sse"),
			"WS /tts/websocket",
			"WS /stt/websocket",
			"WS /stt/turns/websocket",
		),
		Dialect: "elevenlabs", // model_id
		Docs:    "https://docs.cartesia.ai/api-reference/tts/bytes",
	},
	{
		// Keys of the free plan are for api-free.deepl.com.
		Name: "deepl", Title: "DeepL", BaseURL: "https://api.deepl.com",
		Credential: Placement{Header: "Authorization", Prefix: "DeepL-Auth-Key "}, Env: "DEEPL_AUTH_KEY",
		AlsoReads: []Placement{{Query: "auth_key"}},
		// Without /v3/voice/realtime, which mints a token, and documents and glossaries of
		// the account.
		Routes:  append(posts("/v2", "translate", "write/rephrase", "write/correct"), "GET /v2/languages", "GET /v3/languages"),
		Dialect: "generic", Docs: "https://developers.deepl.com/docs/getting-started/auth",
	},
	{
		Name: "hume", Title: "Hume AI Octave", BaseURL: "https://api.hume.ai", Credential: Placement{Header: "X-Hume-Api-Key"}, Env: "HUME_API_KEY",
		AlsoReads: []Placement{bearer, {Query: "api_key"}, {Query: "access_token"}},
		// Without /v0/evi, whose chats the account stores, and /oauth2-cc/token, which
		// mints tokens.
		Routes:  posts("/v0", "tts", "tts/file", "tts/stream/json", "tts/stream/file"),
		Dialect: "generic", Docs: "https://dev.hume.ai/reference/text-to-speech-tts/synthesize-json",
	},
	{
		Name: "lmnt", Title: "LMNT", BaseURL: "https://api.lmnt.com", Credential: xAPIKey, Env: "LMNT_API_KEY",
		// Without the socket, which reads the key from its first message.
		Routes:  posts("/v1", "ai/speech", "ai/speech/bytes"),
		Dialect: "generic", Docs: "https://docs.lmnt.com/api-reference/speech/synthesize-speech-bytes",
	},
	{
		// Europe, the default of the SDKs. Other regions have other hosts. The transcription
		// of recordings is a job of another host.
		Name: "speechmatics", Title: "Speechmatics Realtime", BaseURL: "https://eu2.rt.speechmatics.com", Credential: bearer, Env: "SPEECHMATICS_API_KEY",
		AlsoReads: []Placement{{Query: "jwt"}},
		Routes:    []string{"WS /v2"},
		Dialect:   "generic", Docs: "https://docs.speechmatics.com/rt-api-ref",
	},
}
