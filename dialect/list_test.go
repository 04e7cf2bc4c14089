package dialect

import (
	"encoding/json"
	"strings"
	"testing"
)

// A list in the form of each provider, filtered to the models whose name begins
// with "ok", and to the one model "ok-1" or "new".
func TestFilterModels(t *testing.T) {
	const openaiNew = `{"id":"new","object":"model","created":0,"owned_by":"system"}`
	for name, tc := range map[string]struct {
		dialect, list string
		filtered      string
		only, new     string // "" where it is not asked
	}{
		"OpenAI": {
			"openai", `{"object":"list","data":[{"id":"ok-1","object":"model","created":1,"owned_by":"x"},{"id":"b","object":"model"},{"id":"ok-2","object":"model"}]}`,
			`{"object":"list","data":[{"id":"ok-1","object":"model","created":1,"owned_by":"x"},{"id":"ok-2","object":"model"}]}`,
			`{"object":"list","data":[{"id":"ok-1","object":"model","created":1,"owned_by":"x"}]}`,
			`{"object":"list","data":[` + openaiNew + `]}`,
		},
		"OpenAI, none": {
			"openai", `{"object":"list","data":[]}`, `{"object":"list","data":[]}`,
			`{"object":"list","data":[{"id":"ok-1","object":"model","created":0,"owned_by":"system"}]}`, `{"object":"list","data":[` + openaiNew + `]}`,
		},
		"OpenAI, none permitted": {"openai", `{"data":[{"id":"b"}],"object":"list"}`, `{"data":[],"object":"list"}`, "", ""},
		"OpenAI, twice": {
			"openai", `{"data":[{"id":"ok-1"},{"id":"ok-1","n":1}]}`, `{"data":[{"id":"ok-1"},{"id":"ok-1","n":1}]}`, `{"data":[{"id":"ok-1"}]}`, "",
		},
		"Azure": {
			"azure", `{"data":[{"id":"b","capabilities":{"inference":true}},{"id":"ok-1","capabilities":{"inference":true}}],"object":"list"}`,
			`{"data":[{"id":"ok-1","capabilities":{"inference":true}}],"object":"list"}`, "", `{"data":[` + openaiNew + `],"object":"list"}`,
		},
		"Anthropic": {
			"anthropic", `{"data":[{"type":"model","id":"a","display_name":"A","created_at":"x"},{"type":"model","id":"ok-1","display_name":"1","created_at":"x"},{"type":"model","id":"ok-2","display_name":"2","created_at":"x"},{"type":"model","id":"b","display_name":"B","created_at":"x"}],"has_more":true,"first_id":"a","last_id":"b"}`,
			`{"data":[{"type":"model","id":"ok-1","display_name":"1","created_at":"x"},{"type":"model","id":"ok-2","display_name":"2","created_at":"x"}],"has_more":true,"first_id":"ok-1","last_id":"ok-2"}`,
			`{"data":[{"type":"model","id":"ok-1","display_name":"1","created_at":"x"}],"has_more":false,"first_id":"ok-1","last_id":"ok-1"}`,
			`{"data":[{"type":"model","id":"new","display_name":"new","created_at":"1970-01-01T00:00:00Z"}],"has_more":false,"first_id":"new","last_id":"new"}`,
		},
		"Anthropic, none permitted": {
			"anthropic", `{"data":[{"type":"model","id":"b"}],"has_more":false,"first_id":"b","last_id":"b"}`,
			`{"data":[],"has_more":false,"first_id":null,"last_id":null}`, "", "",
		},
		"Gemini": {
			"gemini", `{"models":[{"name":"models/ok-1","baseModelId":"ok","supportedGenerationMethods":["generateContent"]},{"name":"models/b"}],"nextPageToken":"t"}`,
			`{"models":[{"name":"models/ok-1","baseModelId":"ok","supportedGenerationMethods":["generateContent"]}],"nextPageToken":"t"}`,
			`{"models":[{"name":"models/ok-1","supportedGenerationMethods":["generateContent"]}],"nextPageToken":""}`,
			`{"models":[{"name":"models/new","displayName":"models/new","supportedGenerationMethods":["generateContent","countTokens"]}],"nextPageToken":""}`,
		},
		"Gemini, none": {
			"gemini", `{"models":[]}`, `{"models":[]}`, "",
			`{"models":[{"name":"models/new","displayName":"models/new","supportedGenerationMethods":["generateContent","countTokens"]}]}`,
		},
		"Gemini, as OpenAI": {
			"gemini", `{"object":"list","data":[{"id":"models/ok-1"},{"id":"models/b"}]}`, `{"object":"list","data":[{"id":"models/ok-1"}]}`,
			`{"object":"list","data":[{"id":"models/ok-1"}]}`, `{"object":"list","data":[{"id":"models/new","object":"model","created":0,"owned_by":"system"}]}`,
		},
		"Ollama": {
			"openai", `{"models":[{"name":"ok-1","model":"ok-1","details":{"families":["x"]}},{"name":"ok-2","model":"b"},{"name":"b","model":"ok-2"}]}`,
			`{"models":[{"name":"ok-1","model":"ok-1","details":{"families":["x"]}}]}`, "",
			`{"models":[{"name":"new","model":"new","modified_at":"1970-01-01T00:00:00Z","size":0,"digest":"","details":{}}]}`,
		},
		"ElevenLabs": {
			"elevenlabs", `[{"model_id":"ok-1","name":"Eleven","languages":[{"language_id":"en"}]},{"model_id":"b","name":"ok"}]`,
			`[{"model_id":"ok-1","name":"Eleven","languages":[{"language_id":"en"}]}]`, "", `[{"model_id":"new","name":"new"}]`,
		},
		"Together": {"openai", `[{"id":"b"}, {"id":"ok-1"}]`, `[{"id":"ok-1"}]`, `[{"id":"ok-1"}]`, `[` + openaiNew + `]`},
		"Deepgram": {
			"deepgram", `{"stt":[{"name":"general","canonical_name":"nova-3-general","architecture":"ok-1"},{"name":"medical","canonical_name":"nova-3-medical","architecture":"ok-1"},{"name":"general","canonical_name":"ok-2-general","architecture":"x"}],"tts":[{"name":"b","canonical_name":"aura-b","architecture":"aura"}],"languages":{"en":"English"}}`,
			`{"stt":[{"name":"general","canonical_name":"nova-3-general","architecture":"ok-1"},{"name":"general","canonical_name":"ok-2-general","architecture":"x"}],"tts":[],"languages":{"en":"English"}}`,
			`{"stt":[{"name":"general","canonical_name":"nova-3-general","architecture":"ok-1"}],"tts":[],"languages":{"en":"English"}}`,
			`{"stt":[{"name":"new","canonical_name":"new"}],"tts":[],"languages":{"en":"English"}}`,
		},
		"OpenRouter": {
			"openai", `{"data":[{"id":"ok-1","canonical_slug":"x-1","name":"X","architecture":{"modality":"text"}},{"id":"b"}]}`,
			`{"data":[{"id":"ok-1","name":"X","architecture":{"modality":"text"}}]}`, "", "",
		},
		"xAI": {
			"openai", `{"models":[{"id":"ok-1","aliases":["ok-latest","b"]},{"id":"b","aliases":["ok-2"]}]}`,
			`{"models":[{"id":"ok-1","aliases":["ok-latest"]}]}`, `{"models":[{"id":"ok-1","aliases":[]}]}`, `{"models":[` + openaiNew + `]}`,
		},
		"vLLM": {
			"generic", `{"data":[{"id":"ok-1","root":"meta/x","parent":null,"max_model_len":1},{"id":"ok-2","root":"ok-2","parent":"b"}]}`,
			`{"data":[{"id":"ok-1","parent":null,"max_model_len":1},{"id":"ok-2","root":"ok-2"}]}`, "", "",
		},
		"llama.cpp": {
			"openai", `{"models":[{"name":"ok-1","model":"ok-1"},{"name":"b","model":"b"}],"object":"list","data":[{"id":"b"},{"id":"ok-1"}]}`,
			`{"models":[{"name":"ok-1","model":"ok-1"}],"object":"list","data":[{"id":"ok-1"}]}`, "",
			`{"models":[{"name":"new","model":"new","modified_at":"1970-01-01T00:00:00Z","size":0,"digest":"","details":{}}],"object":"list","data":[` + openaiNew + `]}`,
		},
		"names alone":         {"generic", `{"data":["b","ok-1"]}`, `{"data":["ok-1"]}`, `{"data":["ok-1"]}`, `{"data":["new"]}`},
		"one":                 {"openai", `{"id":"ok-1","object":"model"}`, `{"id":"ok-1","object":"model"}`, `{"id":"ok-1","object":"model"}`, openaiNew},
		"one of Gemini":       {"gemini", `{"name":"models/ok-1"}`, `{"name":"models/ok-1"}`, "", ""},
		"one in data":         {"openai", `{"data":{"id":"ok-1","endpoints":[{"name":"x"}]}}`, `{"data":{"id":"ok-1","endpoints":[{"name":"x"}]}}`, "", ""},
		"escaped":             {"openai", `{"d\u0061ta":[{"i\u0064":"b"},{"\u0069d":"ok-\u0031"}]}`, `{"data":[{"\u0069d":"ok-\u0031"}]}`, "", ""},
		"something empty":     {"openai", `{"data":[{"id":"ok-1"}],"meta":{},"links":[ ]}`, `{"data":[{"id":"ok-1"}],"meta":{},"links":[ ]}`, "", ""},
		"one not permitted":   {"openai", `{"id":"b","object":"model"}`, "", "", openaiNew},
		"something unknown":   {"openai", `{"data":[],"more_models":[{"id":"b"}]}`, "", "", ""},
		"a list in an entry":  {"openai", `{"id":"b","data":[]}`, "", "", ""},
		"an entry of no name": {"openai", `{"data":[{"title":"b"}]}`, "", "", ""},
		"an entry in numbers": {"openai", `{"data":[1]}`, "", "", ""},
		"an alias in objects": {"openai", `{"data":[{"id":"ok-1","aliases":[{"id":"b"}]}]}`, "", "", ""},
		"a list of an object": {"openai", `{"data":[],"models":{"b":{}}}`, "", "", ""},
		"an id in capitals":   {"openai", `{"data":[{"id":"ok-1","ID":"b"}]}`, "", "", ""},
		"two lists":           {"openai", `{"data":[],"data":[{"id":"b"}]}`, "", "", ""},
		"two ids":             {"openai", `{"data":[{"id":"ok-1","id":"b"}]}`, "", "", ""},
		"no JSON":             {"openai", `<html>`, "", "", ""},
		"nothing":             {"openai", ``, "", "", ""},
		"a text":              {"openai", `"b"`, "", "", ""},
		"cut short":           {"openai", `{"data":[{"id":"ok-1"}`, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := Lookup(tc.dialect)
			ok := func(model string) bool { return strings.HasPrefix(model, "ok") }
			got, err := d.FilterModels([]byte(tc.list), ok, "")
			if string(got) != tc.filtered || (err != nil) != (tc.filtered == "") {
				t.Errorf("got %s, %v; want %s", got, err, tc.filtered)
			}
			for only, want := range map[string]string{"ok-1": tc.only, "new": tc.new} {
				if want == "" {
					continue
				}
				if got, err := d.FilterModels([]byte(tc.list), nil, only); string(got) != want || err != nil {
					t.Errorf("only %s: got %s, %v; want %s", only, got, err, want)
				}
			}
		})
	}
}

// Whatever the answer is, no name passes that is not permitted.
func FuzzFilterModels(f *testing.F) {
	for _, seed := range []string{
		`{"object":"list","data":[{"id":"ok"},{"id":"secret"}]}`, `[{"model_id":"secret"}]`, `{"id":"secret"}`,
		`{"models":[{"name":"models/secret","baseModelId":"secret"}],"nextPageToken":""}`, `{"data":{"id":"secret"}}`,
		`{"data":[{"id":"ok","aliases":["secret",["secret"]]}],"first_id":"secret","last_id":"secret","has_more":true}`,
		`{"stt":[{"name":"general","canonical_name":"secret","architecture":"ok"}]}`,
	} {
		f.Add([]byte(seed))
	}
	ok := func(model string) bool { return model == "ok" }
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, d := range []*Dialect{openai, anthropic, gemini, deepgram, generic} {
			for _, only := range []string{"", "ok"} {
				got, err := d.FilterModels(data, ok, only)
				if err != nil {
					continue
				}
				var answer struct {
					Data, Models []struct {
						ID      string   `json:"id"`
						Model   string   `json:"model"`
						Aliases []string `json:"aliases"`
					}
				}
				if !json.Valid(got) {
					t.Fatalf("%q became %q", data, got)
				}
				if json.Unmarshal(got, &answer) != nil { // a form that is not OpenAI's
					continue
				}
				for _, e := range append(answer.Data, answer.Models...) {
					for _, name := range append(e.Aliases, e.ID, e.Model) {
						if name = strings.TrimPrefix(name, "models/"); name != "" && name != "ok" {
							t.Errorf("%q became %q", data, got)
						}
					}
				}
			}
		}
	})
}
