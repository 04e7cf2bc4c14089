package dialect

import (
	"bytes"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Model lists differ by provider in three ways: the field with the entries, the fields
// of an entry that name its model, and the fields beside the list. The tables here
// cover all of them. Anything else is an error, and the caller withholds the answer.
var (
	// entryLists are the fields with a list of entries, or with one entry.
	// llama.cpp and Deepgram have two of them in one answer.
	entryLists = []string{"data", "models", "stt", "tts"}

	// besides are fields that name no model: Deepgram's table of languages.
	besides = []string{"languages"}

	// cursors are the names of the first and the last entry (Anthropic).
	cursors = []string{"first_id", "last_id"}

	// pages are the fields that announce further pages, with the value for none.
	pages = map[string]string{"has_more": "false", "nextPageToken": `""`, "next_page_token": `""`}

	// entryNames are the fields that name an entry's model. All must be permitted.
	entryNames = []string{"id", "model_id", "canonical_name", "model", "name"}

	// entryAliases are the fields with further names of the model. The filter
	// removes those that are not permitted.
	entryAliases = []string{"aliases", "canonical_slug", "root", "parent", "baseModelId"}
)

// entryForms are templates of minimal entries. The field named mark in the first entry
// of the list selects one, or else the list itself does.
var entryForms = []struct{ name, mark, text string }{
	{"elevenlabs", "model_id", `{"model_id":%,"name":%}`},
	{"deepgram", "canonical_name", `{"name":%,"canonical_name":%}`},
	{"anthropic", "display_name", `{"type":"model","id":%,"display_name":%,"created_at":"1970-01-01T00:00:00Z"}`},
	{"openai", "id", `{"id":%,"object":"model","created":0,"owned_by":"system"}`},
	{"ollama", "model", `{"name":%,"model":%,"modified_at":"1970-01-01T00:00:00Z","size":0,"digest":"","details":{}}`},
	{"gemini", "name", `{"name":%,"displayName":%,"supportedGenerationMethods":["generateContent","countTokens"]}`},
}

// resources is Gemini's prefix of model names.
const resources = "models/"

var (
	errNotList      = unclear("answer: it is not a list of models that the relay understands; it is withheld")
	errNotPermitted = unclear("answer: it shows a model that the token does not permit; it is withheld")
)

// FilterModels removes the models that permits refuses from a model list, or from the
// entry of one model. The rest keeps its order. The fields first_id and last_id follow
// the entries that are left.
//
// If only is not empty, FilterModels ignores permits: each list has exactly that model,
// as the provider shows it or else as a minimal entry, and no further page.
//
// An entry with several names, such as Ollama's, stays if all of them are permitted. A
// name beside an id is a title and does not count. The entry keeps those aliases that
// are permitted. A Deepgram model called general also stays if its architecture is
// permitted, because the provider reads "nova-3" as "nova-3-general".
func (d *Dialect) FilterModels(list []byte, permits func(model string) bool, only string) ([]byte, error) {
	f := &filter{d: d, permits: permits, only: strings.TrimPrefix(only, resources)}
	if only != "" {
		f.permits = func(model string) bool { return model == f.only }
	}
	list = bytes.TrimSpace(list)
	if !jsontext.Value(list).IsValid() {
		return nil, errNotList
	}

	switch list[0] {
	case '[':
		return f.entries("", list)
	case '{':
		return f.answer(list)
	}
	return nil, errNotList
}

// filter filters one answer.
type filter struct {
	d       *Dialect
	permits func(string) bool
	only    string
	kept    []string // the names of the entries that stay
}

// member is a member of a JSON object. Its value keeps its bytes.
type member struct {
	name  string
	value []byte
}

// answer filters an answer that is an object.
func (f *filter) answer(data []byte) ([]byte, error) {
	members, err := membersOf(data)
	if err != nil {
		return nil, err
	}
	lists := 0
	for i, m := range members {
		if slices.Contains(entryLists, m.name) && (m.value[0] == '[' || m.value[0] == '{') {
			lists++
			members[i].value, err = f.list(m)
		}
		if err != nil {
			return nil, err
		}
	}
	if lists == 0 {
		return f.single(data)
	}
	f.insert(members)
	return f.rest(members)
}

// list filters the value of one of entryLists.
func (f *filter) list(m member) ([]byte, error) {
	if m.value[0] == '[' {
		return f.entries(m.name, m.value)
	}
	return f.single(m.value)
}

// single filters the entry of the requested model.
func (f *filter) single(data []byte) ([]byte, error) {
	kept, err := f.entry(data)
	switch {
	case err != nil:
		return nil, err
	case kept == nil && f.only != "": // the provider knows the model by another name
		return f.minimal("", [][]byte{data}), nil
	case kept == nil:
		return nil, errNotPermitted
	}
	return kept, nil
}

// entries filters a list. The name of a bare array is empty.
func (f *filter) entries(name string, list []byte) ([]byte, error) {
	values, err := valuesOf(list)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for _, v := range values {
		kept, err := f.entry(v)
		switch {
		case err != nil:
			return nil, err
		case kept != nil && (f.only == "" || len(out) == 0):
			out = append(out, kept)
		}
	}
	if f.only != "" && len(out) == 0 && !halves(name) {
		f.kept = append(f.kept, f.only)
		out = append(out, f.minimal(name, values))
	}
	return join('[', out, ']'), nil
}

// halves reports whether a list shows only some models, beside another list.
func halves(list string) bool { return list == "stt" || list == "tts" }

// insert adds the only model to the right one of two lists if neither has it.
func (f *filter) insert(members []member) {
	if f.only == "" || len(f.kept) > 0 {
		return
	}
	list := "stt"
	if strings.HasPrefix(f.only, "aura") {
		list = "tts"
	}
	for i, m := range members {
		if m.name == list {
			members[i].value = join('[', [][]byte{f.minimal(list, nil)}, ']')
		}
	}
}

// rest checks the fields beside the lists and assembles the answer.
func (f *filter) rest(members []member) ([]byte, error) {
	for i, m := range members {
		none, page := pages[m.name]
		switch {
		case slices.Contains(entryLists, m.name), slices.Contains(besides, m.name):
		case slices.Contains(cursors, m.name):
			members[i].value = f.cursor(m.name)
		case page && f.only != "":
			members[i].value = []byte(none)
		case slices.Contains(entryNames, m.name): // an entry and a list at once
			return nil, errNotList
		case (m.value[0] == '{' || m.value[0] == '[') && len(bytes.Trim(m.value, "{}[] \t\r\n")) > 0:
			return nil, errNotList
		}
	}
	return object(members), nil
}

// cursor returns the name of the first or the last entry that is left.
func (f *filter) cursor(name string) []byte {
	switch {
	case len(f.kept) == 0:
		return []byte("null")
	case name == "first_id":
		return []byte(quoted(f.kept[0]))
	}
	return []byte(quoted(f.kept[len(f.kept)-1]))
}

// entry returns an entry with its permitted aliases, or nil if its model is not
// permitted.
func (f *filter) entry(data []byte) ([]byte, error) {
	if data[0] == '"' {
		name, err := unquote(data)
		if err != nil || !f.permitsName(name) {
			return nil, err
		}
		f.kept = append(f.kept, name)
		return data, nil
	}
	members, err := membersOf(data)
	if err != nil {
		return nil, err
	}
	names, err := namesOf(members)
	switch {
	case err != nil:
		return nil, err
	case !f.permitsAll(names) && !f.permitsGeneral(members):
		return nil, nil
	}
	f.kept = append(f.kept, names[0])
	return f.withoutAliases(data, members)
}

// namesOf returns the names of an entry's model.
func namesOf(members []member) ([]string, error) {
	for _, m := range members { // some clients take "ID" for "id"
		folded := fold(m.name)
		if folded != m.name && (slices.Contains(entryNames, folded) || slices.Contains(entryAliases, folded)) {
			return nil, errNotList
		}
	}
	var names []string
	for _, field := range entryNames {
		text, ok := textOf(members, field)
		if field == "name" && len(names) > 0 && !isOllama(members) {
			break
		}
		if ok && text != "" {
			names = append(names, text)
		}
	}
	if len(names) == 0 {
		return nil, errNotList
	}
	return names, nil
}

// isOllama reports whether a request may use an entry's name as its model.
func isOllama(members []member) bool {
	_, id := textOf(members, "id")
	_, other := textOf(members, "model_id")
	_, model := textOf(members, "model")
	return model && !id && !other
}

func (f *filter) permitsName(name string) bool {
	return f.permits(strings.TrimPrefix(name, resources))
}

func (f *filter) permitsAll(names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return !f.permitsName(name) })
}

// permitsGeneral reports whether an entry is Deepgram's general model of a
// permitted architecture.
func (f *filter) permitsGeneral(members []member) bool {
	name, _ := textOf(members, "name")
	architecture, ok := textOf(members, "architecture")
	_, canonical := textOf(members, "canonical_name")
	return canonical && ok && name == "general" && f.permitsName(architecture)
}

// withoutAliases removes from an entry the aliases that are not permitted.
func (f *filter) withoutAliases(data []byte, members []member) ([]byte, error) {
	changed := false
	out := members[:0:0]
	for _, m := range members {
		if !slices.Contains(entryAliases, m.name) {
			out = append(out, m)
			continue
		}
		value, err := f.aliases(m.value)
		if err != nil {
			return nil, err
		}
		changed = changed || !bytes.Equal(value, m.value)
		if value != nil {
			out = append(out, member{m.name, value})
		}
	}
	if !changed {
		return data, nil
	}
	return object(out), nil
}

// aliases returns the permitted part of an alias or a list of aliases. Nil means none.
func (f *filter) aliases(value []byte) ([]byte, error) {
	switch value[0] {
	case '"':
		name, err := unquote(value)
		if err != nil || name != "" && !f.permitsName(name) {
			return nil, err
		}
	case '[':
		values, err := valuesOf(value)
		if err != nil {
			return nil, err
		}
		var out [][]byte
		for _, v := range values {
			kept, err := f.aliases(v)
			if err != nil {
				return nil, err
			}
			if kept != nil {
				out = append(out, kept)
			}
		}
		if len(out) < len(values) {
			return join('[', out, ']'), nil
		}
	case '{':
		return nil, errNotList
	}
	return value, nil
}

// minimal returns an entry for the only model in the form of the other entries.
func (f *filter) minimal(list string, others [][]byte) []byte {
	name, form := f.only, ""
	if len(others) > 0 && others[0][0] == '{' {
		members, _ := membersOf(others[0]) // which has been read before
		for _, e := range entryForms {
			if text, ok := textOf(members, e.mark); ok {
				form = e.text
				if strings.HasPrefix(text, resources) {
					name = resources + name
				}
				break
			}
		}
	} else if len(others) > 0 {
		form = "%"
	}
	if form == "" {
		form = f.defaultForm(list)
		if f.d == gemini && list == "models" {
			name = resources + name
		}
	}
	return []byte(strings.ReplaceAll(form, "%", quoted(name)))
}

// defaultForm returns the form of the entries of an empty list.
func (f *filter) defaultForm(list string) string {
	form := "openai"
	switch {
	case halves(list):
		form = "deepgram"
	case list == "models" && f.d == gemini:
		form = "gemini"
	case list == "models":
		form = "ollama"
	case f.d == anthropic, f.d == elevenlabs:
		form = f.d.name
	}
	for _, e := range entryForms {
		if e.name == form {
			return e.text
		}
	}
	return "%"
}

// membersOf returns the members of an object.
func membersOf(data []byte) ([]member, error) {
	var members []member
	if data[0] != '{' {
		return nil, errNotList
	}
	err := eachMember(data, func(name string, start, end int) error {
		members = append(members, member{name, data[start:end]})
		return nil
	})
	if err != nil {
		return nil, errNotList
	}
	return members, nil
}

// valuesOf returns the values of a valid JSON array.
func valuesOf(data []byte) ([][]byte, error) {
	var values [][]byte
	s := scanner{data: data, at: 1}
	for s.space(); s.peek() != ']'; s.space() {
		s.take(',')
		s.space()
		start := s.at
		if !s.value() || s.at == start {
			return nil, errNotList
		}
		values = append(values, data[start:s.at])
	}
	return values, nil
}

// textOf returns the text value of a member.
func textOf(members []member, name string) (string, bool) {
	for _, m := range members {
		if m.name == name && m.value[0] == '"' {
			text, err := unquote(m.value)
			return text, err == nil
		}
	}
	return "", false
}

// object encodes an object.
func object(members []member) []byte {
	pairs := make([][]byte, len(members))
	for i, m := range members {
		pairs[i] = slices.Concat([]byte(quoted(m.name)), []byte{':'}, m.value)
	}
	return join('{', pairs, '}')
}

// join encodes values between two brackets.
func join(open byte, values [][]byte, end byte) []byte {
	out := append([]byte{open}, bytes.Join(values, []byte{','})...)
	return append(out, end)
}
