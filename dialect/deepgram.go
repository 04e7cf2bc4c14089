package dialect

// deepgram names the model in the query (https://developers.deepgram.com/docs/model).
// The body is a recording or the URL of one.
var deepgram = &Dialect{
	name:    "deepgram",
	query:   []string{"model"},
	inQuery: func(string) bool { return true },
	media:   []string{"/v1/listen", "/v2/listen", "/v1/speak"},
	lists:   []string{"/v1/models"},
	without: []string{"/v1/read"},
}

// deepgramUsage maps the length of a recording and the number of its channels, each of
// which is billed
// (https://developers.deepgram.com/reference/speech-to-text/listen-pre-recorded). A socket
// reports both in its last message, Metadata
// (https://developers.deepgram.com/reference/speech-to-text/listen-streaming).
var deepgramUsage = []usageMember{
	{"metadata.duration", recorded},
	{"metadata.channels", channels},
	{"duration", socketRecorded},
	{"channels", socketChannels},
}
