package dialect

// deepgram has the model in the query (https://developers.deepgram.com/docs/model);
// the body is a recording, or tells where one is.
var deepgram = &Dialect{
	name:    "deepgram",
	query:   []string{"model"},
	inQuery: func(string) bool { return true },
	media:   []string{"/v1/listen", "/v2/listen", "/v1/speak"},
	lists:   []string{"/v1/models"},
	without: []string{"/v1/read"},
}
