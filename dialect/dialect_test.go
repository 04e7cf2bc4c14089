package dialect

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const jsonType = "application/json"

// form is a form as browsers write it.
func form(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString("--XX\r\n" + p + "\r\n")
	}
	return b.String() + "--XX--\r\n"
}

func many(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func field(name, value string) string {
	return `Content-Disposition: form-data; name="` + name + "\"\r\n\r\n" + value
}

const recording = "Content-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\nContent-Type: audio/mpeg\r\n\r\n\x00\r\n-\xff"

// Every place in which a model can stand, and every way in which a request can
// try to have it read otherwise.
func TestRead(t *testing.T) {
	const chat, formType = "/v1/chat/completions", "multipart/form-data; boundary=XX"
	ask := func(body string) Request { return Request{Path: chat, ContentType: jsonType, Body: []byte(body)} }
	post := func(path, body string) Request { return Request{Path: path, ContentType: jsonType, Body: []byte(body)} }
	upload := func(body string) Request {
		return Request{Path: "/v1/audio/transcriptions", ContentType: formType, Body: []byte(body)}
	}
	socket := func(path, query string) Request { return Request{Path: path, RawQuery: query, WebSocket: true} }
	typed := func(contentType, body string) Request {
		return Request{Path: chat, ContentType: contentType, Body: []byte(body)}
	}
	type row struct {
		request Request
		model   string
		others  []string
		unclear string // a part of the rule
	}
	for dialect, rows := range map[string]map[string]row{
		"openai": {
			"JSON":                            {request: ask(`{"model":"a","messages":[]}`), model: "a"},
			"after megabytes":                 {request: ask(`{"messages":[{"content":"` + strings.Repeat("x", 3<<20) + `"}],"model":"a"}`), model: "a"},
			"escaped":                         {request: ask(`{"mod\u0065l":"\u0061"}`), model: "a"},
			"among white space":               {request: ask(" \n{ \"model\" :\t\"a\" } \r\n"), model: "a"},
			"JSON that says it is text":       {request: typed("text/plain;charset=UTF-8", `{"model":"a"}`), model: "a"},
			"JSON without a type":             {request: typed("", `{"model":"a"}`), model: "a"},
			"no name":                         {request: ask(`{"messages":[{"model":"a"}]}`)},
			"no body":                         {request: Request{Path: chat}},
			"empty object":                    {request: ask(`{}`)},
			"name in messages":                {request: ask(`{"messages":[{"role":"user","content":"{\"model\":\"b\"}"}],"model":"a"}`), model: "a"},
			"name in metadata":                {request: ask(`{"model":"a","metadata":{"model":"b"}}`), model: "a"},
			"property of a function":          {request: ask(`{"model":"a","tools":[{"type":"function","function":{"parameters":{"properties":{"model":{"type":"string","default":"b"}}}}}]}`), model: "a"},
			"hosted tool":                     {request: ask(`{"model":"a","tools":[{"type":"image_generation","model":"b"}]}`), model: "a", others: []string{"b"}},
			"fallbacks":                       {request: ask(`{"models":["b","c"],"model":"a"}`), model: "a", others: []string{"b", "c"}},
			"plugin":                          {request: ask(`{"model":"a","plugins":[{"id":"x","model":"b"}]}`), model: "a", others: []string{"b"}},
			"parts of a compound":             {request: ask(`{"model":"a","compound_custom":{"models":{"answering_model":"b","reasoning_model":"c"}}}`), model: "a", others: []string{"b", "c"}},
			"a member of the future":          {request: ask(`{"model":"a","fallback_model":"b"}`), model: "a", others: []string{"b"}},
			"text to complete":                {request: ask(`{"model":"a","prompt":"write"}`), model: "a"},
			"twice":                           {request: ask(`{"model":"a","model":"a"}`), unclear: "every parser"},
			"twice, once escaped":             {request: ask(`{"model":"a","\u006dodel":"b"}`), unclear: "every parser"},
			"twice in a tool":                 {request: ask(`{"model":"a","tools":[{"model":"b","model":"c"}]}`), unclear: "every parser"},
			"twice where nobody looks":        {request: ask(`{"model":"a","x":{"y":1,"y":2}}`), model: "a"},
			"a comment where nobody looks":    {request: ask(`{"x":[/*"*/],"model":"b","y":[/*"*/],"model":"a"}`), unclear: "every parser"},
			"quotes of another kind":          {request: ask(`{"x":['"'],"model":"b","y":['"'],"model":"a"}`), unclear: "every parser"},
			"an escape cut short":             {request: ask(`{"x":"\u12","model":"a"}`), unclear: "every parser"},
			"an escape of none":               {request: ask(`{"x":"\x22","model":"a"}`), unclear: "every parser"},
			"brackets that do not match":      {request: ask(`{"x":[},"model":"a"}`), unclear: "every parser"},
			"a line in a text":                {request: ask("{\"x\":\"a\nb\",\"model\":\"a\"}"), unclear: "every parser"},
			"deeper than anybody needs":       {request: ask(`{"x":` + strings.Repeat("[", 1001) + strings.Repeat("]", 1001) + `,"model":"a"}`), unclear: "every parser"},
			"escaped quotes":                  {request: ask(`{"x":"\\\"\\","y":{"z":"}\"]"},"model":"a"}`), model: "a"},
			"a number of letters":             {request: ask(`{"x":tru,"model":"a"}`), unclear: "every parser"},
			"another case":                    {request: ask(`{"Model":"b"}`), unclear: "another case"},
			"both cases":                      {request: ask(`{"model":"a","MODEL":"b"}`), unclear: "another case"},
			"a container's case":              {request: ask(`{"model":"a","Tools":[{"model":"b"}]}`), unclear: "another case"},
			"NUL after the name":              {request: ask(`{"model\u0000":"b","model":"a"}`), unclear: "control character"},
			"byte order mark":                 {request: ask("\ufeff" + `{"model":"a"}`), unclear: "not a JSON object"},
			"invalid UTF-8":                   {request: ask("{\"model\":\"a\xff\"}"), unclear: "every parser"},
			"half a surrogate":                {request: ask(`{"model":"a\ud800"}`), unclear: "every parser"},
			"comment":                         {request: ask(`{/*"model":"b",*/"model":"a"}`), unclear: "every parser"},
			"comma too many":                  {request: ask(`{"model":"a",}`), unclear: "every parser"},
			"cut short":                       {request: ask(`{"model":"a"`), unclear: "every parser"},
			"a second text":                   {request: ask(`{"model":"a"}{"model":"b"}`), unclear: "more after"},
			"an array":                        {request: ask(`[{"model":"a"}]`), unclear: "not a JSON object"},
			"a number":                        {request: ask(`{"model":1}`), unclear: "not a text"},
			"null":                            {request: ask(`{"model":null}`), unclear: "not a text"},
			"an empty name":                   {request: ask(`{"model":""}`), unclear: "empty"},
			"stored prompt":                   {request: post("/v1/responses", `{"model":"a","prompt":{"id":"pmpt_1"}}`), unclear: "prompt stands"},
			"assistant":                       {request: post("/v1/threads/runs", `{"model":"a","assistant_id":"asst_1"}`), unclear: "assistant_id stands"},
			"preset":                          {request: ask(`{"model":"a","preset":"mine"}`), unclear: "preset stands"},
			"batch file":                      {request: post("/v1/batches", `{"model":"a","input_file_id":"f"}`), unclear: "input_file_id stands"},
			"UTF-16":                          {request: typed("application/json; charset=utf-16", `{"model":"a"}`), unclear: "UTF-8"},
			"URL-encoded form":                {request: typed("application/x-www-form-urlencoded", `model=a`), unclear: "not looked into"},
			"type that does not parse":        {request: typed("application/json; charset=utf-8; charset=utf-16", `{"model":"a"}`), unclear: "does not parse"},
			"form":                            {request: upload(form(recording, field("model", "a"))), model: "a"},
			"form, the name first":            {request: upload(form(field("model", "a"), recording)), model: "a"},
			"form without a name":             {request: upload(form(recording))},
			"form, twice":                     {request: upload(form(field("model", "a"), field("model", "a"))), unclear: "twice"},
			"form, another case":              {request: upload(form(field("Model", "b"), field("model", "a"))), unclear: "another case"},
			"form, a list":                    {request: upload(form(field("model", "a"), field("model[]", "b"))), model: "a", others: []string{"b"}},
			"form, the name in a file":        {request: upload(form("Content-Disposition: form-data; name=\"model\"; filename=\"x\"\r\n\r\na")), unclear: "is a file"},
			"form, the name escaped":          {request: upload(form(`Content-Disposition: form-data; name="mod\el"` + "\r\n\r\na")), unclear: "several ways"},
			"form, encoded in the name":       {request: upload(form(`Content-Disposition: form-data; name="mod%65l"` + "\r\n\r\na")), unclear: "several ways"},
			"form, a quote in a file":         {request: upload(form(`Content-Disposition: form-data; name="file"; filename="\"; name=\"model"` + "\r\n\r\na")), unclear: "several ways"},
			"form, two dispositions":          {request: upload(form("Content-Disposition: form-data; name=\"x\"\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\na")), unclear: "several ways"},
			"form, an encoded part":           {request: upload(form("Content-Transfer-Encoding: base64\r\n" + field("model", "YQ=="))), unclear: "encoded"},
			"form, a folded line":             {request: upload(form("Content-Disposition: form-data;\r\n name=\"model\"\r\n\r\na")), unclear: "several ways"},
			"form, line feeds alone":          {request: upload(strings.ReplaceAll(form(field("model", "a")), "\r\n", "\n")), unclear: "end its line"},
			"form, boundary in a line":        {request: upload(form(field("file", "x--XX"), field("model", "a"))), unclear: "within a line"},
			"form, boundary after LF":         {request: upload(form(field("file", "x\n--XX\nContent-Disposition: form-data; name=\"model\"\n\nb"), field("model", "a"))), unclear: "within a line"},
			"form, longer boundary":           {request: upload(form(field("file", "x\r\n--XXX"), field("model", "a"))), unclear: "end its line"},
			"form, text before":               {request: upload("x\r\n" + form(field("model", "a"))), unclear: "begin"},
			"form, text after":                {request: upload(form(field("model", "a")) + "x"), unclear: "more after"},
			"form, cut short":                 {request: upload("--XX\r\n" + field("model", "a")), unclear: "cut short"},
			"form in a part":                  {request: upload(form("Content-Type: multipart/mixed; boundary=Y\r\n" + field("x", "y"))), unclear: "is a form"},
			"form, character set":             {request: upload(form(field("_charset_", "utf-16"), field("model", "a"))), unclear: "no name"},
			"form, no boundary":               {request: typed("multipart/form-data", form(field("model", "a"))), unclear: "has no boundary"},
			"form, boundary in pieces":        {request: typed("multipart/form-data; boundary*0=X; boundary*1=X", form(field("model", "a"))), unclear: "does not parse"},
			"query":                           {request: socket("/v1/realtime", "model=a"), model: "a"},
			"query, twice":                    {request: socket("/v1/realtime", "model=a&model=b"), unclear: "twice"},
			"query, another case":             {request: socket("/v1/realtime", "MODEL=b&model=a"), unclear: "another case"},
			"query, escaped":                  {request: socket("/v1/realtime", "mod%65l=%61"), model: "a"},
			"query, empty":                    {request: socket("/v1/realtime", "model="), unclear: "empty"},
			"query, none":                     {request: socket("/v1/realtime", "intent=transcription")},
			"query that nobody reads":         {request: Request{Path: chat, RawQuery: "model=b", ContentType: jsonType, Body: []byte(`{"n":1}`)}, others: []string{"b"}},
			"tool of OpenRouter":              {request: ask(`{"model":"a","tools":[{"type":"openrouter:image_generation","parameters":{"model":"b"}}]}`), model: "a", others: []string{"b"}},
			"fallback requests":               {request: ask(`{"model":"a","fallbacks":[{"model":"b"}]}`), model: "a", others: []string{"b"}},
			"fallbacks by name":               {request: ask(`{"model":"a","fallbacks":["b",{"model":"c","messages":[{"content":["x",{"text":"y"}]}],"stop":["z"]}]}`), model: "a", others: []string{"b", "c", "x"}},
			"a tool of a fallback":            {request: ask(`{"model":"a","fallbacks":[{"model":"b","tools":[{"model":"c","domains":["x"]}]}]}`), model: "a", others: []string{"b", "c"}},
			"data of a fallback":              {request: ask(`{"model":"a","fallbacks":[{"model":"b","data_sources":[{}]}]}`), unclear: "data_sources stands"},
			"fallbacks of each":               {request: ask(`{"model":"a","context_window_fallbacks":[{"a":["b","c"]}]}`), model: "a", others: []string{"b", "c"}},
			"fallbacks in a form":             {request: upload(form(field("model", "a"), field("fallbacks", "b"))), unclear: "not looked into"},
			"a session in a form":             {request: upload(form(field("model", "a"), field("session", `{"model":"b"}`))), unclear: "not looked into"},
			"a stored prompt in another case": {request: ask(`{"model":"a","Prompt":{"id":"x"}}`), unclear: "Prompt stands"},
			"fallbacks of the account":        {request: ask(`{"model":"a","fallbacks":"default"}`), unclear: "fallbacks stands"},
			"a path that takes none":          {request: post("/v1/tts", `{"model":"a"}`)},
			"as many members as there may be": {request: ask(`{"model":"a"` + many(`,"m%d":1`, 999) + `}`), model: "a"},
			"twice, far apart":                {request: ask(`{"model":"a"` + many(`,"m%d":1`, 40) + `,"model":"b"}`), unclear: "every parser"},
			"twice, both late":                {request: ask(`{"model":"a"` + many(`,"m%d":1`, 40) + `,"m30":1}`), unclear: "every parser"},
			"more members than needed":        {request: ask(`{"model":"a"` + many(`,"m%d":1`, 1000) + `}`), unclear: "more members"},
			"more models than needed":         {request: ask(`{"model":"a","models":["b"` + strings.Repeat(`,"b"`, 100) + `]}`), unclear: "more models"},
			"more in a tool than needed":      {request: ask(`{"model":"a","tools":[1` + strings.Repeat(`,1`, 100_001) + `]}`), unclear: "more in it"},
			"form, more parts":                {request: upload(form(slices.Repeat([]string{field("x", "y")}, 1002)...)), unclear: "more parts"},
		},
		"anthropic": {
			"JSON":                 {request: post("/v1/messages", `{"model":"a","max_tokens":1}`), model: "a"},
			"tool":                 {request: post("/v1/messages", `{"model":"a","tools":[{"type":"advisor","model":"b"}]}`), model: "a", others: []string{"b"}},
			"property of a tool":   {request: post("/v1/messages", `{"model":"a","tools":[{"input_schema":{"model":"b"},"input_examples":[{"model":"c"}]}]}`), model: "a"},
			"what a tool was told": {request: post("/v1/messages", `{"model":"a","messages":[{"content":[{"type":"tool_use","input":{"model":"b"}}]}]}`), model: "a"},
			"fallbacks in a batch": {request: post("/v1/messages/batches", `{"requests":[{"params":{"model":"b","fallbacks":["c"]}}]}`), others: []string{"b", "c"}},
			"batch":                {request: post("/v1/messages/batches", `{"requests":[{"params":{"model":"b"}}]}`), others: []string{"b"}},
		},
		"gemini": {
			"path":                  {request: post("/v1beta/models/a:generateContent", `{"contents":[]}`), model: "a"},
			"path, with a colon":    {request: post("/v1beta/models/a:b:generateContent", `{}`), model: "a:b"},
			"body of one voice":     {request: post("/v1beta/models/a:embedContent", `{"model":"models/a"}`), model: "a"},
			"body that differs":     {request: post("/v1beta/models/a:embedContent", `{"model":"models/b"}`), unclear: "two different"},
			"requests in the body":  {request: post("/v1beta/models/a:batchEmbedContents", `{"requests":[{"model":"models/b"}]}`), model: "a", others: []string{"b"}},
			"request in the body":   {request: post("/v1beta/models/a:countTokens", `{"generateContentRequest":{"model":"models/b"}}`), model: "a", others: []string{"b"}},
			"OpenAI's way":          {request: post("/v1beta/openai/chat/completions", `{"model":"models/a"}`), model: "a"},
			"property of functions": {request: post("/v1beta/models/a:generateContent", `{"tools":[{"functionDeclarations":[{"parameters":{"properties":{"model":{"enum":["b"]}}},"response":{"properties":{"model":{}}}}]}]}`), model: "a"},
			"query":                 {request: Request{Path: "/v1beta/models/a:generateContent", RawQuery: "alt=sse&model=b"}, model: "a", others: []string{"b"}},
			"socket":                {request: socket("/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent", "")},
		},
		"azure": {
			"deployment":              {request: Request{Path: "/openai/deployments/a/chat/completions", RawQuery: "api-version=1", ContentType: jsonType, Body: []byte(`{"messages":[]}`)}, model: "a"},
			"body that differs":       {request: post("/openai/deployments/a/chat/completions", `{"model":"b"}`), unclear: "two different"},
			"JSON":                    {request: post("/openai/v1/chat/completions", `{"model":"a"}`), model: "a"},
			"socket":                  {request: socket("/openai/realtime", "deployment=a&api-version=1"), model: "a"},
			"another case in a query": {request: socket("/openai/realtime", "deployment=a&Deployment=b"), unclear: "another case"},
			"another case in a path":  {request: post("/OpenAI/deployments/a/completions", `{"model":"b"}`), unclear: "another case"},
			"socket with two":         {request: socket("/openai/realtime", "deployment=a&model=b"), unclear: "two different"},
			"deployment of your data": {request: post("/openai/v1/chat/completions", `{"model":"a","data_sources":[{"parameters":{"embedding_dependency":{"deployment_name":"b"}}}]}`), unclear: "data_sources stands"},
		},
		"bedrock": {
			"path":       {request: post("/model/a:0/converse", `{"messages":[]}`), model: "a:0"},
			"fields":     {request: post("/model/a/converse", `{"additionalModelRequestFields":{"top_k":1},"additionalModelResponseFieldPaths":["/x"]}`), model: "a"},
			"in fields":  {request: post("/model/a/converse", `{"additionalModelRequestFields":{"tools":[{"model":"b"}]}}`), model: "a", others: []string{"b"}},
			"OpenAI way": {request: post("/openai/v1/chat/completions", `{"model":"a"}`), model: "a"},
		},
		"deepgram": {
			"query":     {request: Request{Path: "/v1/listen", RawQuery: "model=a", ContentType: "audio/wav", Body: []byte("RIFF")}, model: "a"},
			"recording": {request: Request{Path: "/v1/listen", ContentType: "audio/wav", Body: []byte("RIFF")}},
			"socket":    {request: socket("/v1/listen", "model=a&smart_format=true"), model: "a"},
		},
		"elevenlabs": {
			"JSON":         {request: post("/v1/text-to-speech/voice", `{"text":"x","model_id":"a"}`), model: "a"},
			"form":         {request: upload(form(recording, field("model_id", "a"))), model: "a"},
			"socket":       {request: socket("/v1/text-to-speech/voice/stream-input", "model_id=a"), model: "a"},
			"another case": {request: post("/v1/text-to-speech/voice", `{"Model_ID":"a"}`), unclear: "another case"},
			"another name": {request: post("/v1/text-to-speech/voice", `{"model":"a"}`), others: []string{"a"}},
			"query":        {request: Request{Path: "/v1/text-to-speech/voice", RawQuery: "model_id=a", ContentType: jsonType, Body: []byte(`{}`)}, others: []string{"a"}},
			"none":         {request: post("/v1/audio-isolation", `{"model_id":"a"}`)},
		},
		"generic": {
			"JSON":              {request: ask(`{"model":"a"}`), model: "a"},
			"path":              {request: post("/v1beta/models/a:generateContent", `{}`), model: "a"},
			"path that differs": {request: post("/v1beta/models/b:generateContent", `{"model":"a"}`), unclear: "two different"},
		},
	} {
		d, ok := Lookup(dialect)
		if !ok {
			t.Fatalf("there is no dialect %s", dialect)
		}
		for name, tc := range rows {
			t.Run(dialect+"/"+name, func(t *testing.T) {
				got, err := d.Read(&tc.request)
				var unclear *Unclear
				switch {
				case tc.unclear != "":
					if !errors.As(err, &unclear) || !strings.Contains(unclear.Rule, tc.unclear) {
						t.Errorf("got %+v, %v; want an error with %q", got, err, tc.unclear)
					}
				case err != nil || got.Model != tc.model || !slices.Equal(got.Others, tc.others):
					t.Errorf("got %+v, %v; want %q and %q", got, err, tc.model, tc.others)
				}
			})
		}
	}
}

func TestReadMessage(t *testing.T) {
	for name, tc := range map[string]struct {
		dialect, message string
		names            []string
		unclear          string
	}{
		"session":                {"openai", `{"type":"session.update","session":{"model":"a"}}`, []string{"a"}, ""},
		"transcripts":            {"openai", `{"type":"session.update","session":{"audio":{"input":{"transcription":{"model":"a"}}}}}`, []string{"a"}, ""},
		"transcripts of before":  {"openai", `{"type":"session.update","session":{"input_audio_transcription":{"model":"a"}}}`, []string{"a"}, ""},
		"a function's property":  {"openai", `{"type":"session.update","session":{"tools":[{"parameters":{"properties":{"model":{"type":"string"}}}}]}}`, nil, ""},
		"response":               {"openai", `{"type":"response.create","response":{"model":"a"}}`, []string{"a"}, ""},
		"stored prompt":          {"openai", `{"type":"session.update","session":{"prompt":{"id":"p"}}}`, nil, "prompt stands"},
		"a tool beside it":       {"openai", `{"type":"response.create","model":"a","tools":[{"model":"b"}],"fallbacks":["c"]}`, []string{"b", "c", "a"}, ""},
		"what is said":           {"openai", `{"type":"conversation.item.create","item":{"content":[{"text":"model"}],"model":"a"}}`, nil, ""},
		"another case":           {"openai", `{"Session":{"model":"a"}}`, nil, "another case"},
		"twice":                  {"openai", `{"session":{"model":"a"},"session":{"model":"b"}}`, nil, "every parser"},
		"binary":                 {"openai", "\x00\x01", nil, "not a JSON object"},
		"setup":                  {"gemini", `{"setup":{"model":"models/a","tools":[{"functionDeclarations":[{"parameters":{"properties":{"model":{"type":"STRING"}}}}]}]}}`, []string{"a"}, ""},
		"content":                {"gemini", `{"clientContent":{"turns":[{"parts":[{"text":"x"}]}]}}`, nil, ""},
		"deployment, for a tool": {"azure", `{"session":{"tools":[{"type":"x","model":"a"}]}}`, []string{"a"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := Lookup(tc.dialect)
			got, _, err := d.ReadMessage([]byte(tc.message))
			if tc.unclear != "" {
				if err == nil || !strings.Contains(err.Error(), tc.unclear) {
					t.Errorf("got %q, %v; want an error with %q", got, err, tc.unclear)
				}
				return
			}
			if err != nil || !slices.Equal(got, tc.names) {
				t.Errorf("got %q, %v; want %q", got, err, tc.names)
			}
		})
	}
}

// Only a name names a session: what a provider may take for no name leaves the
// session to its default.
func TestMessageThatNamesTheSession(t *testing.T) {
	for _, tc := range []struct {
		message string
		want    bool
	}{
		{`{"type":"session.update","session":{"model":"a"}}`, true},
		{`{"type":"session.update","session":{}}`, false},
		{`{"type":"session.update","session":{"model":null}}`, false},
		{`{"type":"session.update","session":{"model":[]}}`, false},
		{`{"type":"session.update","session":{"model":{}}}`, false},
		{`{"type":"session.update","session":{"model":1}}`, false},
		{`{"type":"session.update","session":{"model":""}}`, false},
		{`{"type":"session.update","model":"a"}`, false},
		{`{"type":"session.update","tools":[{"model":"a"}]}`, false},
		{`{"type":"session.update","session":{"fallbacks":[{"model":"a"}]}}`, false},
		{`{"type":"session.update","session":{"tools":[{"model":"a"}]}}`, false},
		{`{"type":"session.update","session":{"tools":[{"model":"a"}],"audio":{"input":{"transcription":{"model":"a"}}}}}`, true},
	} {
		d, _ := Lookup("openai")
		if _, named, err := d.ReadMessage([]byte(tc.message)); err == nil && named != tc.want || err != nil && tc.want {
			t.Errorf("%s: named %v, %v; want %v", tc.message, named, err, tc.want)
		}
	}
}

// What is written is what is read afterwards, and nothing else changes.
func TestWrite(t *testing.T) {
	for name, tc := range map[string]struct {
		dialect string
		request Request
		want    Request
		unclear string
	}{
		"JSON":         {"openai", Request{Body: []byte(`{"n": 1.0, "model" : "x", "z":[]}`)}, Request{Body: []byte(`{"n": 1.0, "model" : "new", "z":[]}`)}, ""},
		"JSON, none":   {"openai", Request{Body: []byte(` {"n":1}`)}, Request{Body: []byte(` {"model":"new","n":1}`)}, ""},
		"JSON, empty":  {"openai", Request{Body: []byte(`{}`)}, Request{Body: []byte(`{"model":"new"}`)}, ""},
		"JSON, nested": {"openai", Request{Body: []byte(`{"model":"x","tools":[{"model":"y"}]}`)}, Request{Body: []byte(`{"model":"new","tools":[{"model":"y"}]}`)}, ""},
		"form": {"openai", Request{ContentType: "multipart/form-data; boundary=XX", Body: []byte(form(recording, field("model", "x")))},
			Request{ContentType: "multipart/form-data; boundary=XX", Body: []byte(form(recording, field("model", "new")))}, ""},
		"form, none": {"openai", Request{ContentType: "multipart/form-data; boundary=XX", Body: []byte(form(recording))},
			Request{ContentType: "multipart/form-data; boundary=XX", Body: []byte(form(field("model", "new"), recording))}, ""},
		"socket": {"openai", Request{Path: "/v1/realtime", RawQuery: "a=%20&model=x&b", WebSocket: true},
			Request{Path: "/v1/realtime", RawQuery: "a=%20&b&model=new", WebSocket: true}, ""},
		"path": {"gemini", Request{Path: "/v1beta/models/x:generateContent", Body: []byte(`{}`)},
			Request{Path: "/v1beta/models/new:generateContent", Body: []byte(`{}`)}, ""},
		"deployment": {"azure", Request{Path: "/openai/deployments/x/completions"}, Request{Path: "/openai/deployments/new/completions"}, ""},
		"another name": {"elevenlabs", Request{Path: "/v1/text-to-speech/v", Body: []byte(`{"text":"x"}`)},
			Request{Path: "/v1/text-to-speech/v", Body: []byte(`{"model_id":"new","text":"x"}`)}, ""},
		"query":          {"deepgram", Request{Path: "/v1/listen"}, Request{Path: "/v1/listen", RawQuery: "model=new"}, ""},
		"in messages":    {"gemini", Request{Path: "/ws/x", WebSocket: true}, Request{}, "in messages"},
		"unclear":        {"openai", Request{Body: []byte(`{"model":"a","model":"b"}`)}, Request{}, "every parser"},
		"without a body": {"openai", Request{}, Request{}, "not a JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := Lookup(tc.dialect)
			r := tc.request
			err := d.Write(&r, "new")
			if tc.unclear != "" {
				if err == nil || !strings.Contains(err.Error(), tc.unclear) {
					t.Errorf("got %v, want an error with %q", err, tc.unclear)
				}
				return
			}
			if err != nil || r.Path != tc.want.Path || r.RawQuery != tc.want.RawQuery || string(r.Body) != string(tc.want.Body) {
				t.Fatalf("got %q %q %q, %v", r.Path, r.RawQuery, r.Body, err)
			}
			if n, err := d.Read(&r); err != nil || n.Model != "new" {
				t.Errorf("then reads %+v, %v", n, err)
			}
		})
	}
	if err := openai.Write(&Request{Body: []byte(`{}`)}, `a"b`); err != nil {
		t.Error(err)
	}
}

// Every byte, wherever it stands among others, is told apart.
func TestPlain(t *testing.T) {
	for at := range 8 {
		for c := range 256 {
			for _, other := range []byte{' ', '!', '#', '[', ']', 'x', 0x7f, 0x80, 0xff} {
				b := bytes.Repeat([]byte{other}, 8)
				b[at] = byte(c)
				want := c >= ' ' && c != '"' && c != '\\'
				if got := plain(binary.LittleEndian.Uint64(b)); got != want {
					t.Fatalf("%q: %v", b, got)
				}
			}
		}
	}
}
