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
	show := func(path string) Request { return Request{Method: "GET", Path: path} }
	part := func(disposition, value string) string {
		return "Content-Disposition: " + disposition + "\r\n\r\n" + value
	}
	type row struct {
		request Request
		model   string
		others  []string
		unclear string // a part of the rule
	}
	for dialect, rows := range map[string]map[string]row{
		"openai": {
			"JSON":                                 {request: ask(`{"model":"a","messages":[]}`), model: "a"},
			"after megabytes":                      {request: ask(`{"messages":[{"content":"` + strings.Repeat("x", 3<<20) + `"}],"model":"a"}`), model: "a"},
			"escaped":                              {request: ask(`{"mod\u0065l":"\u0061"}`), model: "a"},
			"among white space":                    {request: ask(" \n{ \"model\" :\t\"a\" } \r\n"), model: "a"},
			"JSON that says it is text":            {request: typed("text/plain;charset=UTF-8", `{"model":"a"}`), model: "a"},
			"JSON without a type":                  {request: typed("", `{"model":"a"}`), model: "a"},
			"no name":                              {request: ask(`{"messages":[{"model":"a"}]}`)},
			"no body":                              {request: Request{Path: chat}},
			"empty object":                         {request: ask(`{}`)},
			"name in messages":                     {request: ask(`{"messages":[{"role":"user","content":"{\"model\":\"b\"}"}],"model":"a"}`), model: "a"},
			"name in metadata":                     {request: ask(`{"model":"a","metadata":{"model":"b"}}`), model: "a"},
			"property of a function":               {request: ask(`{"model":"a","tools":[{"type":"function","function":{"parameters":{"properties":{"model":{"type":"string","default":"b"}}}}}]}`), model: "a"},
			"hosted tool":                          {request: ask(`{"model":"a","tools":[{"type":"image_generation","model":"b"}]}`), model: "a", others: []string{"b"}},
			"fallbacks":                            {request: ask(`{"models":["b","c"],"model":"a"}`), model: "a", others: []string{"b", "c"}},
			"plugin":                               {request: ask(`{"model":"a","plugins":[{"id":"x","model":"b"}]}`), model: "a", others: []string{"b"}},
			"parts of a compound":                  {request: ask(`{"model":"a","compound_custom":{"models":{"answering_model":"b","reasoning_model":"c"}}}`), model: "a", others: []string{"b", "c"}},
			"a member of the future":               {request: ask(`{"model":"a","fallback_model":"b"}`), model: "a", others: []string{"b"}},
			"text to complete":                     {request: ask(`{"model":"a","prompt":"write"}`), model: "a"},
			"twice":                                {request: ask(`{"model":"a","model":"a"}`), unclear: "every parser"},
			"twice, once escaped":                  {request: ask(`{"model":"a","\u006dodel":"b"}`), unclear: "every parser"},
			"twice in a tool":                      {request: ask(`{"model":"a","tools":[{"model":"b","model":"c"}]}`), unclear: "every parser"},
			"twice where nobody looks":             {request: ask(`{"model":"a","x":{"y":1,"y":2}}`), model: "a"},
			"a comment where nobody looks":         {request: ask(`{"x":[/*"*/],"model":"b","y":[/*"*/],"model":"a"}`), unclear: "every parser"},
			"quotes of another kind":               {request: ask(`{"x":['"'],"model":"b","y":['"'],"model":"a"}`), unclear: "every parser"},
			"an escape cut short":                  {request: ask(`{"x":"\u12","model":"a"}`), unclear: "every parser"},
			"an escape of none":                    {request: ask(`{"x":"\x22","model":"a"}`), unclear: "every parser"},
			"brackets that do not match":           {request: ask(`{"x":[},"model":"a"}`), unclear: "every parser"},
			"a line in a text":                     {request: ask("{\"x\":\"a\nb\",\"model\":\"a\"}"), unclear: "every parser"},
			"deeper than anybody needs":            {request: ask(`{"x":` + strings.Repeat("[", 1001) + strings.Repeat("]", 1001) + `,"model":"a"}`), unclear: "every parser"},
			"escaped quotes":                       {request: ask(`{"x":"\\\"\\","y":{"z":"}\"]"},"model":"a"}`), model: "a"},
			"a number of letters":                  {request: ask(`{"x":tru,"model":"a"}`), unclear: "every parser"},
			"another case":                         {request: ask(`{"Model":"b"}`), unclear: "another case"},
			"both cases":                           {request: ask(`{"model":"a","MODEL":"b"}`), unclear: "another case"},
			"a container's case":                   {request: ask(`{"model":"a","Tools":[{"model":"b"}]}`), unclear: "another case"},
			"NUL after the name":                   {request: ask(`{"model\u0000":"b","model":"a"}`), unclear: "control character"},
			"byte order mark":                      {request: ask("\ufeff" + `{"model":"a"}`), unclear: "not a JSON object"},
			"invalid UTF-8":                        {request: ask("{\"model\":\"a\xff\"}"), unclear: "every parser"},
			"half a surrogate":                     {request: ask(`{"model":"a\ud800"}`), unclear: "every parser"},
			"comment":                              {request: ask(`{/*"model":"b",*/"model":"a"}`), unclear: "every parser"},
			"comma too many":                       {request: ask(`{"model":"a",}`), unclear: "every parser"},
			"cut short":                            {request: ask(`{"model":"a"`), unclear: "every parser"},
			"a second text":                        {request: ask(`{"model":"a"}{"model":"b"}`), unclear: "data follows"},
			"an array":                             {request: ask(`[{"model":"a"}]`), unclear: "not a JSON object"},
			"a number":                             {request: ask(`{"model":1}`), unclear: "not a string"},
			"null":                                 {request: ask(`{"model":null}`), unclear: "not a string"},
			"an empty name":                        {request: ask(`{"model":""}`), unclear: "empty"},
			"stored prompt":                        {request: post("/v1/responses", `{"model":"a","prompt":{"id":"pmpt_1"}}`), unclear: `"prompt": it selects`},
			"assistant":                            {request: post("/v1/threads/runs", `{"model":"a","assistant_id":"asst_1"}`), unclear: `"assistant_id": it selects`},
			"preset":                               {request: ask(`{"model":"a","preset":"mine"}`), unclear: `"preset": it selects`},
			"batch file":                           {request: post("/v1/batches", `{"model":"a","input_file_id":"f"}`), unclear: `"input_file_id": it selects`},
			"UTF-16":                               {request: typed("application/json; charset=utf-16", `{"model":"a"}`), unclear: "UTF-8"},
			"URL-encoded form":                     {request: typed("application/x-www-form-urlencoded", `model=a`), unclear: "not searched"},
			"type that does not parse":             {request: typed("application/json; charset=utf-8; charset=utf-16", `{"model":"a"}`), unclear: "does not parse"},
			"form":                                 {request: upload(form(recording, field("model", "a"))), model: "a"},
			"form, the name first":                 {request: upload(form(field("model", "a"), recording)), model: "a"},
			"form without a name":                  {request: upload(form(recording))},
			"form, twice":                          {request: upload(form(field("model", "a"), field("model", "a"))), unclear: "twice"},
			"form, another case":                   {request: upload(form(field("Model", "b"), field("model", "a"))), unclear: "another case"},
			"form, a list":                         {request: upload(form(field("model", "a"), field("model[]", "b"))), model: "a", others: []string{"b"}},
			"form, the name in a file":             {request: upload(form("Content-Disposition: form-data; name=\"model\"; filename=\"x\"\r\n\r\na")), unclear: "is a file"},
			"form, the name escaped":               {request: upload(form(`Content-Disposition: form-data; name="mod\el"` + "\r\n\r\na")), unclear: "several ways"},
			"form, encoded in the name":            {request: upload(form(`Content-Disposition: form-data; name="mod%65l"` + "\r\n\r\na")), unclear: "several ways"},
			"form, a quote in a file":              {request: upload(form(`Content-Disposition: form-data; name="file"; filename="\"; name=\"model"` + "\r\n\r\na")), unclear: "several ways"},
			"form, two dispositions":               {request: upload(form("Content-Disposition: form-data; name=\"x\"\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\na")), unclear: "several ways"},
			"form, an encoded part":                {request: upload(form("Content-Transfer-Encoding: base64\r\n" + field("model", "YQ=="))), unclear: "encoded"},
			"form, a folded line":                  {request: upload(form("Content-Disposition: form-data;\r\n name=\"model\"\r\n\r\na")), unclear: "several ways"},
			"form, line feeds alone":               {request: upload(strings.ReplaceAll(form(field("model", "a")), "\r\n", "\n")), unclear: "end its line"},
			"form, boundary in a line":             {request: upload(form(field("file", "x--XX"), field("model", "a"))), unclear: "within a line"},
			"form, boundary after LF":              {request: upload(form(field("file", "x\n--XX\nContent-Disposition: form-data; name=\"model\"\n\nb"), field("model", "a"))), unclear: "within a line"},
			"form, longer boundary":                {request: upload(form(field("file", "x\r\n--XXX"), field("model", "a"))), unclear: "end its line"},
			"form, text before":                    {request: upload("x\r\n" + form(field("model", "a"))), unclear: "begin"},
			"form, text after":                     {request: upload(form(field("model", "a")) + "x"), unclear: "data follows"},
			"form, cut short":                      {request: upload("--XX\r\n" + field("model", "a")), unclear: "cut short"},
			"form in a part":                       {request: upload(form("Content-Type: multipart/mixed; boundary=Y\r\n" + field("x", "y"))), unclear: "is a form"},
			"form, character set":                  {request: upload(form(field("_charset_", "utf-16"), field("model", "a"))), unclear: "no name"},
			"form, no boundary":                    {request: typed("multipart/form-data", form(field("model", "a"))), unclear: "has no boundary"},
			"form, boundary in pieces":             {request: typed("multipart/form-data; boundary*0=X; boundary*1=X", form(field("model", "a"))), unclear: "does not parse"},
			"form, no quotes":                      {request: upload(form(part(`form-data; name=model`, "a"))), model: "a"},
			"form, no quotes, a file before":       {request: upload(form(part(`form-data; name=file; filename=a.mp3; filename*=utf-8''a.mp3`, "x"), part(`form-data; name=model`, "a"))), model: "a"},
			"form, no space":                       {request: upload(form(part(`form-data;name="model"`, "a"))), model: "a"},
			"form, a tab":                          {request: upload(form(part("form-data;\tname=\"model\"", "a"))), model: "a"},
			"form, other cases":                    {request: upload(form(part(`Form-Data; Name="model"`, "a"))), model: "a"},
			"form, the filename first":             {request: upload(form(part(`form-data; filename="a.mp3"; name="file"`, "x"), field("model", "a"))), model: "a"},
			"form, filename* first":                {request: upload(form(part(`form-data; filename*=UTF-8''%e4.mp3; name="file"`, "x"), field("model", "a"))), model: "a"},
			"form, an escaped quote in a filename": {request: upload(form(part(`form-data; name="file"; filename="a\"b.mp3"`, "x"), field("model", "a"))), model: "a"},
			"form, a backslash in a filename":      {request: upload(form(part(`form-data; name="file"; filename="C:\a\b.mp3"`, "x"), field("model", "a"))), model: "a"},
			"form, an encoded quote in a filename": {request: upload(form(part(`form-data; name="file"; filename="a%22b.mp3"`, "x"), field("model", "a"))), model: "a"},
			"form, a semicolon in a filename":      {request: upload(form(part(`form-data; name="file"; filename="a; b.mp3"`, "x"), field("model", "a"))), model: "a"},
			"form, text as .NET sends it":          {request: upload(form("Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=model\r\n\r\na")), model: "a"},
			"form, quoted boundary":                {request: typed(`multipart/form-data; boundary="X'()+_,-./:=? X"`, strings.ReplaceAll(form(field("model", "a")), "--XX", "--X'()+_,-./:=? X")), model: "a"},
			"form, type in another case":           {request: typed(`Multipart/Form-Data;Boundary=XX`, form(field("model", "a"))), model: "a"},
			"form, charset":                        {request: typed(`multipart/form-data; charset=UTF8; boundary="XX"`, form(field("model", "a"))), model: "a"},
			"form, boundary that ends in a space":  {request: typed(`multipart/form-data; boundary="XX "`, strings.ReplaceAll(form(field("model", "a")), "--XX", "--XX ")), unclear: "this boundary in different ways"},
			"form, boundary in another parameter":  {request: typed(`multipart/form-data; x="boundary=YY"; boundary=XX`, form(field("model", "a"))), unclear: "no further parameter"},
			"form, boundary with a backslash":      {request: typed(`multipart/form-data; boundary="X\X"`, form(field("model", "a"))), unclear: "no further parameter"},
			"form, boundary with slashes unquoted": {request: typed(`multipart/form-data; boundary=X/X`, form(field("model", "a"))), unclear: "does not parse"},
			"form, two boundaries":                 {request: typed(`multipart/form-data; boundary=YY; boundary=XX`, form(field("model", "a"))), unclear: "does not parse"},
			"form, two names":                      {request: upload(form(part(`form-data; name="x"; name="model"`, "a"))), unclear: "several ways"},
			"form, two filenames":                  {request: upload(form(part(`form-data; name="x"; filename="a"; filename="b"`, "a"))), unclear: "several ways"},
			"form, name*":                          {request: upload(form(part(`form-data; name="x"; name*=UTF-8''model`, "a"))), unclear: "several ways"},
			"form, the name in pieces":             {request: upload(form(part(`form-data; name*0="mod"; name*1="el"`, "a"))), unclear: "several ways"},
			"form, a name in a filename":           {request: upload(form(part(`form-data; name="file"; filename="; name=model"`, "a"))), unclear: "several ways"},
			"form, a name in a filename before":    {request: upload(form(part(`form-data; filename="a; Name = b"; name="file"`, "a"))), unclear: "several ways"},
			"form, a quote in a filename before":   {request: upload(form(part(`form-data; filename="a\"b"; name="model"`, "a"))), unclear: "several ways"},
			"form, a name in a name":               {request: upload(form(part(`form-data; name="x; name=model"`, "a"))), unclear: "several ways"},
			"form, a semicolon in a name":          {request: upload(form(part(`form-data; name="x;model"`, "a"))), unclear: "several ways"},
			"form, an escaped semicolon":           {request: upload(form(part(`form-data; name="file"; filename="a\"; x=\"y"`, "a"))), unclear: "several ways"},
			"form, single quotes":                  {request: upload(form(part(`form-data; name='model'`, "a"))), unclear: "several ways"},
			"form, single quotes in a filename":    {request: upload(form(part(`form-data; filename=it's; name="model"`, "a"))), unclear: "several ways"},
			"form, spaces around the equals sign":  {request: upload(form(part(`form-data; name = "model"`, "a"))), unclear: "several ways"},
			"form, junk after the name":            {request: upload(form(part(`form-data; name="model"x`, "a"))), unclear: "several ways"},
			"form, an open quote":                  {request: upload(form(part(`form-data; name="model`, "a"))), unclear: "several ways"},
			"form, an attachment":                  {request: upload(form(part(`attachment; name="model"`, "a"))), unclear: "several ways"},
			"form, a disposition in another field": {request: upload(form("X: Content-Disposition: form-data; name=\"model\"\r\n" + field("x", "b"))), unclear: "several ways"},
			"form, the name as octets":             {request: upload(form("Content-Type: application/octet-stream\r\n" + field("model", "a"))), unclear: "is a file"},
			"form, the name in UTF-16":             {request: upload(form("Content-Type: text/plain; charset=utf-16\r\n" + field("model", "a"))), unclear: "not UTF-8"},
			"form, PHP's name":                     {request: upload(form(field("model", "a"), field(" model", "b"))), model: "a", others: []string{"b"}},
			"form, extra_body in brackets":         {request: upload(form(field("model", "a"), field("extra_body[model]", "b"))), model: "a", others: []string{"b"}},
			"form, extra_body":                     {request: upload(form(field("model", "a"), field("extra_body", `{"model":"b"}`))), unclear: "not searched"},
			"form, provider":                       {request: upload(form(field("model", "a"), field("provider", "x"))), model: "a"},
			"form, provider with members":          {request: upload(form(field("model", "a"), field("provider", ` {"model":"b"}`))), unclear: "not searched"},
			"form, prompt":                         {request: upload(form(field("model", "a"), field("prompt", "x"))), model: "a"},
			"form, stored prompt":                  {request: upload(form(field("model", "a"), field("prompt_id", "x"))), unclear: `"prompt_id": it selects`},
			"form, adapter":                        {request: upload(form(field("model", "a"), field("adapter_id", "b"))), model: "a", others: []string{"b"}},

			"utf8":            {request: typed("application/json; charset=utf8", `{"model":"a"}`), model: "a"},
			"UTF8":            {request: typed("application/json;charset=UTF8", `{"model":"a"}`), model: "a"},
			"utf8, in quotes": {request: typed(`application/json; charset="utf8"`, `{"model":"a"}`), model: "a"},
			"utf8, as text":   {request: typed(`text/plain; Charset="UTF-8"`, `{"model":"a"}`), model: "a"},
			"utf-7":           {request: typed("application/json; charset=utf-7", `{"model":"a"}`), unclear: "send UTF-8"},

			"extra_body":                  {request: ask(`{"model":"a","extra_body":{"model":"b"}}`), model: "a", others: []string{"b"}},
			"extra_body, nested":          {request: ask(`{"model":"a","extra_body":{"extra_body":{"model":"b"}}}`), model: "a", others: []string{"b"}},
			"extra_body, of other things": {request: ask(`{"model":"a","extra_body":{"top_k":1,"google":{"thinking_config":{"thinking_budget":1}}}}`), model: "a"},
			"extra_body, in another case": {request: ask(`{"model":"a","Extra_Body":{"model":"b"}}`), model: "a", others: []string{"b"}},
			"extra_body, another case in": {request: ask(`{"model":"a","extra_body":{"Model":"b"}}`), unclear: "another case"},
			"extra_body, escaped":         {request: ask(`{"model":"a","extra_\u0062ody":{"m\u006fdel":"b"}}`), model: "a", others: []string{"b"}},
			"extra_body, as text":         {request: ask(`{"model":"a","extra_body":"{\"model\":\"b\"}"}`), unclear: "write an object"},
			"extra_body, a stored prompt": {request: ask(`{"model":"a","extra_body":{"prompt_id":"b"}}`), unclear: `"prompt_id": it selects`},
			"extra_body, null":            {request: ask(`{"model":"a","extra_body":null}`), model: "a"},
			"extra_params":                {request: ask(`{"model":"a","extra_params":{"models":["b"]}}`), model: "a", others: []string{"b"}},
			"optional_params":             {request: ask(`{"model":"a","optional_params":{"model":"b"}}`), model: "a", others: []string{"b"}},
			"litellm_params":              {request: ask(`{"model":"a","litellm_params":{"model":"b"}}`), model: "a", others: []string{"b"}},
			"user_config":                 {request: ask(`{"model":"a","user_config":{"model_list":[{"model_name":"a","litellm_params":{"model":"b"}}]}}`), model: "a", others: []string{"a", "b"}},
			"router_settings_override":    {request: ask(`{"model":"a","router_settings_override":{"fallbacks":[{"a":["b"]}]}}`), model: "a", others: []string{"b"}},
			"model_override":              {request: ask(`{"model":"a","model_override":"b"}`), model: "a", others: []string{"b"}},
			"model_kwargs":                {request: ask(`{"model":"a","model_kwargs":{"x":{"y":"b"}}}`), model: "a", others: []string{"b"}},
			"draft_model":                 {request: ask(`{"model":"a","draft_model":"b"}`), model: "a", others: []string{"b"}},
			"a speculative model within":  {request: ask(`{"model":"a","extra_body":{"speculative_config":{"model":"b"}}}`), model: "a", others: []string{"b"}},
			"deployment_id":               {request: ask(`{"model":"a","deployment_id":"b"}`), model: "a", others: []string{"b"}},
			"fallbacks in a dictionary":   {request: ask(`{"model":"a","context_window_fallback_dict":{"a":"b"}}`), model: "a", others: []string{"b"}},
			"adapter_id":                  {request: ask(`{"model":"a","parameters":{"adapter_id":"b"}}`), model: "a", others: []string{"b"}},
			"adapters merged in":          {request: ask(`{"model":"a","extra_body":{"parameters":{"merged_adapters":{"ids":["b"]}}}}`), model: "a", others: []string{"b"}},
			"a function merged in":        {request: ask(`{"model":"a","extra_body":{"tools":[{"function":{"parameters":{"properties":{"model":{"type":"string"}}}}}]}}`), model: "a"},
			"lora_path":                   {request: ask(`{"model":"a","lora_path":["b"]}`), model: "a", others: []string{"b"}},
			"Portkey's targets":           {request: ask(`{"model":"a","config":{"targets":[{"override_params":{"model":"b"}}]}}`), model: "a", others: []string{"b"}},
			"a config by name":            {request: ask(`{"model":"a","config":"x"}`), model: "a"},
			"provider":                    {request: ask(`{"model":"a","provider":{"order":["openai"],"allow_fallbacks":false,"sort":"price"}}`), model: "a"},
			"provider's models":           {request: ask(`{"model":"a","provider":{"models":["b"]}}`), model: "a", others: []string{"b"}},
			"provider options":            {request: ask(`{"model":"a","providerOptions":{"gateway":{"models":["b","c"]}}}`), model: "a", others: []string{"b", "c"}},
			"several models in one name":  {request: ask(`{"model":"a, b"}`), model: "a, b", others: []string{"a", "b"}},
			"several fallbacks in one":    {request: ask(`{"model":"a","fallbacks":"default","models":["b,c"]}`), unclear: `"fallbacks": it selects`},
			"several further ones in one": {request: ask(`{"model":"a","models":["b,c"]}`), model: "a", others: []string{"b,c", "b", "c"}},
			"metadata of a video":         {request: post("/v1/video/generations", `{"model":"a","metadata":{"model_name":"b"}}`), model: "a", others: []string{"b"}},
			"metadata of a chat":          {request: ask(`{"model":"a","metadata":{"model_name":"b"}}`), model: "a"},
			"a container's long s":        {request: ask(`{"model":"a","ſession":{"model":"b"}}`), unclear: "another case"},
			"a stored assistant's long s": {request: ask(`{"model":"a","aſſistant_id":"b"}`), unclear: "it selects"},

			"engine":                        {request: post("/v1/engines/a/completions", `{"prompt":"x"}`), model: "a"},
			"engine of LiteLLM":             {request: post("/engines/x/a/chat/completions", `{}`), model: "x/a"},
			"engine below a base":           {request: post("/base/engines/a/embeddings", `{}`), model: "a"},
			"engine that differs":           {request: post("/engines/b/chat/completions", `{"model":"a"}`), unclear: "two different"},
			"engine in another case":        {request: post("/Engines/b/chat/completions", `{"model":"a"}`), unclear: "another case"},
			"deployment":                    {request: post("/openai/deployments/a/chat/completions", `{}`), model: "a"},
			"deployment that differs":       {request: post("/openai/deployments/a/b/chat/completions", `{"model":"a"}`), unclear: "two different"},
			"a prompt that is stored":       {request: post("/v1/prompts/x/completions", `{"model":"a"}`), unclear: "stored prompt"},
			"one entry":                     {request: show("/v1/models/a"), model: "a"},
			"one entry, with slashes":       {request: show("/v1/models/x/a"), model: "x/a"},
			"one entry's endpoints":         {request: show("/v1/models/x/a/endpoints"), model: "x/a"},
			"all entries":                   {request: show("/v1/models")},
			"all entries, with a query":     {request: Request{Method: "GET", Path: "/v1/models", RawQuery: "model=b"}},
			"an entry that is written over": {request: Request{Method: "POST", Path: "/v1/models/a", ContentType: jsonType, Body: []byte(`{}`)}},
			"socket of responses":           {request: socket("/v1/responses", "")},

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
			"data of a fallback":              {request: ask(`{"model":"a","fallbacks":[{"model":"b","data_sources":[{}]}]}`), unclear: `"data_sources": it selects`},
			"fallbacks of each":               {request: ask(`{"model":"a","context_window_fallbacks":[{"a":["b","c"]}]}`), model: "a", others: []string{"b", "c"}},
			"fallbacks in a form":             {request: upload(form(field("model", "a"), field("fallbacks", "b"))), unclear: "not searched"},
			"a session in a form":             {request: upload(form(field("model", "a"), field("session", `{"model":"b"}`))), unclear: "not searched"},
			"a stored prompt in another case": {request: ask(`{"model":"a","Prompt":{"id":"x"}}`), unclear: `"Prompt": it selects`},
			"fallbacks of the account":        {request: ask(`{"model":"a","fallbacks":"default"}`), unclear: `"fallbacks": it selects`},
			"a path that takes none":          {request: post("/v1/tts", `{"model":"a"}`)},
			"as many members as there may be": {request: ask(`{"model":"a"` + many(`,"m%d":1`, 999) + `}`), model: "a"},
			"twice, far apart":                {request: ask(`{"model":"a"` + many(`,"m%d":1`, 40) + `,"model":"b"}`), unclear: "every parser"},
			"twice, both late":                {request: ask(`{"model":"a"` + many(`,"m%d":1`, 40) + `,"m30":1}`), unclear: "every parser"},
			"more members than needed":        {request: ask(`{"model":"a"` + many(`,"m%d":1`, 1000) + `}`), unclear: "more members"},
			"more models than needed":         {request: ask(`{"model":"a","models":["b"` + strings.Repeat(`,"b"`, 100) + `]}`), unclear: "more than 100 models"},
			"more in a tool than needed":      {request: ask(`{"model":"a","tools":[1` + strings.Repeat(`,1`, 100_001) + `]}`), unclear: "more than 100000 values"},
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
			"tuned":                 {request: post("/v1beta/tunedModels/a:generateContent", `{}`), model: "tunedModels/a"},
			"one entry":             {request: show("/v1beta/models/a"), model: "a"},
			"one entry, OpenAI's":   {request: show("/v1beta/openai/models/models/a"), model: "a"},
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
			"deployment of your data": {request: post("/openai/v1/chat/completions", `{"model":"a","data_sources":[{"parameters":{"embedding_dependency":{"deployment_name":"b"}}}]}`), unclear: `"data_sources": it selects`},
		},
		"bedrock": {
			"path":       {request: post("/model/a:0/converse", `{"messages":[]}`), model: "a:0"},
			"profile":    {request: post("/model/arn:aws:bedrock:us-east-1:1:application-inference-profile/a/invoke", `{}`), model: "arn:aws:bedrock:us-east-1:1:application-inference-profile/a"},
			"extra_body": {request: post("/openai/v1/chat/completions", `{"model":"a","extra_body":{"model":"b"}}`), model: "a", others: []string{"b"}},
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
			"below a base":      {request: post("/gemini/v1beta/models/a:generateContent", `{}`), model: "a"},
			"Vertex":            {request: post("/v1/projects/p/locations/l/publishers/google/models/a:streamGenerateContent", `{}`), model: "a"},
			"Vertex, raw":       {request: post("/v1/projects/p/locations/l/publishers/anthropic/models/a@1:rawPredict", `{}`), model: "a@1"},
			"Vertex, express":   {request: post("/v1/publishers/google/models/a:generateContent", `{"model":"b"}`), unclear: "two different"},
			"Vertex's endpoint": {request: post("/v1/projects/p/locations/l/endpoints/1:predict", `{}`), model: "endpoints/1"},
			"endpoint's chat":   {request: post("/v1/projects/p/locations/l/endpoints/1/chat/completions", `{}`), model: "endpoints/1"},
			"the open endpoint": {request: post("/v1/projects/p/locations/l/endpoints/openapi/chat/completions", `{"model":"google/a"}`), model: "google/a"},
			"tuned":             {request: post("/v1beta/tunedModels/a:generateContent", `{}`), model: "tunedModels/a"},
			"tuned, and a body": {request: post("/v1beta/tunedModels/b:generateContent", `{"model":"a"}`), unclear: "two different"},
			"engine":            {request: post("/v1/engines/b/completions", `{"model":"a"}`), unclear: "two different"},
			"engine alone":      {request: post("/engines/x/a/chat/completions", `{}`), model: "x/a"},
			"deployment":        {request: post("/x/openai/deployments/a/chat/completions", `{}`), model: "a"},
			"deployment's data": {request: post("/openai/deployments/a/extensions/chat/completions", `{}`), model: "a"},
			"inference profile": {request: post("/model/arn:aws:bedrock:us-east-1:1:inference-profile/a/converse", `{}`), model: "arn:aws:bedrock:us-east-1:1:inference-profile/a"},
			"Replicate":         {request: post("/v1/models/x/a/predictions", `{"model":"b"}`), unclear: "two different"},
			"Hugging Face":      {request: post("/hf-inference/models/x/a/v1/chat/completions", `{"model":"x/a"}`), model: "x/a"},
			"KServe":            {request: post("/v2/models/a/infer", `{}`), model: "a"},
			"Cloudflare":        {request: post("/accounts/1/ai/run/@cf/meta/a", `{"model":"b"}`), unclear: "two different"},
			"Databricks":        {request: post("/serving-endpoints/a/invocations", `{"model":"b"}`), unclear: "two different"},
			"Databricks' base":  {request: post("/serving-endpoints/chat/completions", `{"model":"a"}`), model: "a"},
			"SageMaker":         {request: post("/endpoints/a/invocations", `{}`), model: "endpoints/a"},
			"llama-swap":        {request: post("/upstream/a/v1/chat/completions", `{"model":"b"}`), unclear: "two different"},
			"a base of models":  {request: post("/models/chat/completions", `{"model":"a"}`), model: "a"},
			"one entry":         {request: show("/api/v1/models/x/a:free"), model: "x/a:free"},
			"all entries":       {request: show("/api/v1/models/")},
			"extra_body":        {request: ask(`{"model":"a","extra_body":{"model":"b"}}`), model: "a", others: []string{"b"}},
			"name in metadata":  {request: ask(`{"model":"a","metadata":{"model":"b"}}`), model: "a"},
			"metadata, video":   {request: post("/kling/v1/videos/text2video", `{"model":"a","metadata":{"model":"b"}}`), model: "a", others: []string{"b"}},
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
		"stored prompt":          {"openai", `{"type":"session.update","session":{"prompt":{"id":"p"}}}`, nil, `"prompt": it selects`},
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

// On the socket of the Responses API each response.create names its model; a
// Realtime session keeps its own rules.
func TestReadMessageOn(t *testing.T) {
	const unnamed = "names no model"
	for name, tc := range map[string]struct {
		path, message string
		names         []string
		named         bool
		unclear       string
	}{
		"at the top":                {"/v1/responses", `{"type":"response.create","model":"a","input":"x"}`, []string{"a"}, true, ""},
		"the type last":             {"/v1/responses", `{"model":"a","type":"response.create"}`, []string{"a"}, true, ""},
		"the type escaped":          {"/v1/responses", `{"model":"a","type":"response\u002ecreate"}`, []string{"a"}, true, ""},
		"below a base":              {"/openai/v1/responses", `{"type":"response.create","model":"a"}`, []string{"a"}, true, ""},
		"with a slash":              {"/v1/responses/", `{"type":"response.create","model":"a"}`, []string{"a"}, true, ""},
		"in response":               {"/v1/responses", `{"type":"response.create","response":{"model":"a"}}`, []string{"a"}, true, ""},
		"in both":                   {"/v1/responses", `{"type":"response.create","model":"a","response":{"model":"b"}}`, []string{"b", "a"}, true, ""},
		"a tool":                    {"/v1/responses", `{"type":"response.create","model":"a","tools":[{"model":"b"}]}`, []string{"b", "a"}, true, ""},
		"extra_body":                {"/v1/responses", `{"type":"response.create","model":"a","extra_body":{"model":"b"}}`, []string{"b", "a"}, true, ""},
		"none":                      {"/v1/responses", `{"type":"response.create","input":"x"}`, nil, false, unnamed},
		"none, of a turn before":    {"/v1/responses", `{"type":"response.create","previous_response_id":"r","input":[]}`, nil, false, unnamed},
		"a tool's alone":            {"/v1/responses", `{"type":"response.create","tools":[{"model":"a"}]}`, nil, false, unnamed},
		"in a session":              {"/v1/responses", `{"type":"session.update","session":{"model":"a"}}`, []string{"a"}, false, ""},
		"of another type":           {"/v1/responses", `{"type":"response.steer","model":"a","input":[]}`, []string{"a"}, false, ""},
		"type in another case":      {"/v1/responses", `{"Type":"response.create","input":"x"}`, nil, false, "another case"},
		"stored prompt":             {"/v1/responses", `{"type":"response.create","prompt":{"id":"p"}}`, nil, false, `"prompt": it selects`},
		"Realtime, at the top":      {"/v1/realtime", `{"type":"response.create","model":"a"}`, []string{"a"}, false, ""},
		"Realtime, in response":     {"/v1/realtime", `{"type":"response.create","response":{"model":"a"}}`, []string{"a"}, true, ""},
		"Realtime, none":            {"/v1/realtime", `{"type":"response.create"}`, nil, false, ""},
		"Realtime, in a session":    {"/v1/realtime", `{"type":"session.update","session":{"model":"a"}}`, []string{"a"}, true, ""},
		"Realtime, two in one name": {"/v1/realtime", `{"session":{"model":"a,b"}}`, []string{"a,b", "a", "b"}, true, ""},
	} {
		for _, dialect := range []string{"openai", "azure", "generic"} {
			t.Run(dialect+"/"+name, func(t *testing.T) {
				d, _ := Lookup(dialect)
				got, named, err := d.ReadMessageOn(tc.path, []byte(tc.message))
				if tc.unclear != "" {
					if err == nil || !strings.Contains(err.Error(), tc.unclear) {
						t.Errorf("got %q, %v; want an error with %q", got, err, tc.unclear)
					}
					return
				}
				if err != nil || !slices.Equal(got, tc.names) || named != tc.named {
					t.Errorf("got %q, %v, %v; want %q, %v", got, named, err, tc.names, tc.named)
				}
				if !d.NamedLater(&Request{Path: "/v1/responses", WebSocket: true}) {
					t.Error("the socket of responses does not name its model later")
				}
			})
		}
	}
}

// A field's name in an error may be a secret if it is long.
func TestUnclearQuotesNoSecret(t *testing.T) {
	secret := strings.Repeat("eyJhbGci", 8)
	for _, r := range []*Request{
		{ContentType: jsonType, Body: []byte(`{"` + secret + `fallbacks":"x"}`)},
		{RawQuery: secret + "model="},
		{RawQuery: secret + "model=a&" + secret + "model=a"},
		{ContentType: "multipart/form-data; boundary=XX", Body: []byte(form("Content-Type: application/octet-stream\r\n" + field(secret+"model", "a")))},
		{ContentType: "multipart/form-data; boundary=XX", Body: []byte(form(field(secret+"fallbacks", "a")))},
	} {
		if _, err := openai.Read(r); err == nil || strings.Contains(err.Error(), secret[:16]) {
			t.Errorf("%q %q: got %v", r.RawQuery, r.Body, err)
		}
	}
}

// Paths that take no model are told from those that do.
func TestTakesModel(t *testing.T) {
	for _, tc := range []struct {
		dialect, method, path string
		takes, lists          bool
	}{
		{"openai", "GET", "/v1/models", false, true},
		{"openai", "HEAD", "/v1/models", false, true},
		{"openai", "GET", "/v1/models/", false, true},
		{"openai", "GET", "/v1/models/a", true, true},
		{"openai", "GET", "/models", false, true},
		{"openai", "GET", "/api/tags", false, true},
		{"openai", "GET", "/v1/language-models/a", true, true},
		{"openai", "POST", "/v1/models", true, false},
		{"openai", "DELETE", "/v1/models/a", true, false},
		{"openai", "GET", "/v1/modelsx", true, false},
		{"openai", "GET", "/V1/models", true, false},
		{"openai", "GET", "/v1/responses", true, false},
		{"openai", "POST", "/v1/chat/completions", true, false},
		{"openai", "POST", "/v1/tts", false, false},
		{"openai", "GET", "/v1/stt", false, false},
		{"anthropic", "GET", "/v1/models", false, true},
		{"anthropic", "GET", "/v1/models/a", true, true},
		{"azure", "GET", "/openai/v1/models", false, true},
		{"azure", "GET", "/openai/models", false, true},
		{"gemini", "GET", "/v1beta/models", false, true},
		{"gemini", "GET", "/v1beta/models/a", true, true},
		{"gemini", "GET", "/v1beta/openai/models", false, true},
		{"deepgram", "GET", "/v1/models", false, true},
		{"deepgram", "POST", "/v1/read", false, false},
		{"elevenlabs", "GET", "/v1/models", false, true},
		{"elevenlabs", "POST", "/v1/audio-isolation", false, false},
		{"bedrock", "GET", "/v1/models", true, false},
		{"generic", "GET", "/x/v1/models", false, true},
		{"generic", "GET", "/x/api/tags", false, true},
		{"generic", "GET", "/x/models/a/b", true, true},
		{"generic", "POST", "/v1/tts", true, false},
	} {
		d, _ := Lookup(tc.dialect)
		r := &Request{Method: tc.method, Path: tc.path}
		if takes, lists := d.TakesModel(r), d.ListsModels(r); takes != tc.takes || lists != tc.lists {
			t.Errorf("%s: %s %s: takes %v, lists %v; want %v, %v", tc.dialect, tc.method, tc.path, takes, lists, tc.takes, tc.lists)
		}
		if r.WebSocket = true; d.ListsModels(r) || !d.TakesModel(r) && tc.lists {
			t.Errorf("%s: %s %s is a list as a WebSocket", tc.dialect, tc.method, tc.path)
		}
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
	const untouched = "untouched"
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
		"query":  {"deepgram", Request{Path: "/v1/listen"}, Request{Path: "/v1/listen", RawQuery: "model=new"}, ""},
		"engine": {"openai", Request{Path: "/v1/engines/x/completions", Body: []byte(`{}`)}, Request{Path: "/v1/engines/new/completions", Body: []byte(`{}`)}, ""},
		"deployment and body": {"azure", Request{Path: "/openai/deployments/x/chat/completions", Body: []byte(`{"model":"x","n":1}`)},
			Request{Path: "/openai/deployments/new/chat/completions", Body: []byte(`{"model":"new","n":1}`)}, ""},
		"tuned":          {"gemini", Request{Path: "/v1beta/tunedModels/x:generateContent"}, Request{Path: "/v1beta/models/new:generateContent"}, ""},
		"Vertex":         {"generic", Request{Path: "/v1/publishers/google/models/x:generateContent"}, Request{Path: "/v1/publishers/google/models/new:generateContent"}, ""},
		"one entry":      {"openai", Request{Method: "GET", Path: "/v1/models/x"}, Request{Path: "/v1/models/new"}, ""},
		"endpoint":       {"generic", Request{Path: "/v1/projects/p/locations/l/endpoints/1:predict"}, Request{}, "names an endpoint"},
		"a list":         {"openai", Request{Method: "GET", Path: "/v1/models"}, Request{Path: "/v1/models"}, untouched},
		"tts":            {"openai", Request{Path: "/v1/tts", Body: []byte(`x`)}, Request{Path: "/v1/tts", Body: []byte(`x`)}, untouched},
		"isolation":      {"elevenlabs", Request{Path: "/v1/audio-isolation"}, Request{Path: "/v1/audio-isolation"}, untouched},
		"read":           {"deepgram", Request{Path: "/v1/read"}, Request{Path: "/v1/read"}, untouched},
		"responses":      {"openai", Request{Path: "/v1/responses", WebSocket: true}, Request{}, "this WebSocket names it in messages"},
		"in messages":    {"gemini", Request{Path: "/ws/x", WebSocket: true}, Request{}, "in messages"},
		"unclear":        {"openai", Request{Body: []byte(`{"model":"a","model":"b"}`)}, Request{}, "every parser"},
		"without a body": {"openai", Request{}, Request{}, "not a JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := Lookup(tc.dialect)
			r := tc.request
			err := d.Write(&r, "new")
			if tc.unclear != "" && tc.unclear != untouched {
				if err == nil || !strings.Contains(err.Error(), tc.unclear) {
					t.Errorf("got %v, want an error with %q", err, tc.unclear)
				}
				return
			}
			if err != nil || r.Path != tc.want.Path || r.RawQuery != tc.want.RawQuery || string(r.Body) != string(tc.want.Body) {
				t.Fatalf("got %q %q %q, %v", r.Path, r.RawQuery, r.Body, err)
			}
			if n, err := d.Read(&r); err != nil || n.Model != "new" && tc.unclear != untouched {
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

func TestNamesInMessages(t *testing.T) {
	for _, c := range []struct {
		d           *Dialect
		path, query string
		want        bool
	}{
		{openai, "/v1/responses", "", true},
		{openai, "/v1/realtime", "model=m", false},
		{openai, "/v1/realtime", "intent=transcription", true},
		{gemini, "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent", "", true},
		{generic, "/v1/responses", "model=m", true},
		{deepgram, "/v1/listen", "model=m", false},
	} {
		r := &Request{Path: c.path, RawQuery: c.query, WebSocket: true}
		if got := c.d.NamesInMessages(r); got != c.want {
			t.Errorf("%s, %s?%s: got %t, want %t", c.d.Name(), c.path, c.query, got, c.want)
		}
		if r.WebSocket = false; c.d.NamesInMessages(r) {
			t.Errorf("%s, %s: got true for what is no WebSocket", c.d.Name(), c.path)
		}
	}
}
