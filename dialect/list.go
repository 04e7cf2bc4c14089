package dialect

import (
	"bytes"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Model lists differ by provider in three ways: in the member that has the
// entries, in the members of an entry that name its model, and in what stands
// beside the list. All of it is in the tables here, and whatever is in none of
// them is an error: the caller then withholds the answer.
var (
	// entryLists are members whose value is a list of entries, or one entry.
	// llama.cpp has two of them in one answer, and so has Deepgram.
	entryLists = []string{"data", "models", "stt", "tts"}

	// besides are members that are no list of models and name none: Deepgram's
	// table of languages.
	besides = []string{"languages"}

	// cursors are the names of the first and the last entry (Anthropic).
	cursors = []string{"first_id", "last_id"}

	// pages tell of further pages, and the value that says that there is none.
	pages = map[string]string{"has_more": "false", "nextPageToken": `""`, "next_page_token": `""`}

	// entryNames name an entry's model. All that are there must be permitted.
	entryNames = []string{"id", "model_id", "canonical_name", "model", "name"}

	// entryAliases name the same model in further ways. Those that are not
	// permitted are left out of the entry.
	entryAliases = []string{"aliases", "canonical_slug", "root", "parent", "baseModelId"}
)

// entryForms are the forms of an entry that has a model's name and no more. A
// list's first entry that has a mark decides, or else the list.
var entryForms = []struct{ name, mark, text string }{
	{"elevenlabs", "model_id", `{"model_id":%,"name":%}`},
	{"deepgram", "canonical_name", `{"name":%,"canonical_name":%}`},
	{"anthropic", "display_name", `{"type":"model","id":%,"display_name":%,"created_at":"1970-01-01T00:00:00Z"}`},
	{"openai", "id", `{"id":%,"object":"model","created":0,"owned_by":"system"}`},
	{"ollama", "model", `{"name":%,"model":%,"modified_at":"1970-01-01T00:00:00Z","size":0,"digest":"","details":{}}`},
	{"gemini", "name", `{"name":%,"displayName":%,"supportedGenerationMethods":["generateContent","countTokens"]}`},
}

// resources is what Gemini writes before the names of models.
const resources = "models/"

var (
	errNotList      = unclear("answer: it is not a list of models that the relay understands; it is withheld")
	errNotPermitted = unclear("answer: it shows a model that the token does not permit; it is withheld")
)

// FilterModels returns a model list, or the entry of one model, with only the
// models that permits allows. All else keeps its place, except that first_id and
// last_id follow the entries that are left.
//
// If only is not empty, permits is not asked: each list has exactly that one, as
// the provider has it or else in a minimal form, and no further page.
//
// An entry with several names stays if all of them are permitted, such as the
// name and the model of Ollama's. Its name does not count beside an id, because
// there it is for people to read. Of its aliases those stay that are permitted. A
// Deepgram model called general also counts as permitted if its architecture is:
// the provider takes "nova-3" for "nova-3-general".
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

// member is a member of an object, as it came.
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

// list filters what is in one of entryLists.
func (f *filter) list(m member) ([]byte, error) {
	if m.value[0] == '[' {
		return f.entries(m.name, m.value)
	}
	return f.single(m.value)
}

// single filters the entry of the one model that was asked for.
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

// entries filters a list; a bare array has no name.
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

// halves reports whether a list has a part of all models, beside another.
func halves(list string) bool { return list == "stt" || list == "tts" }

// insert writes the only model into the one of two lists in which it belongs, if
// neither has it.
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

// rest checks what stands beside the lists, and puts the answer together.
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

// cursor is the name of the first or the last entry that stays.
func (f *filter) cursor(name string) []byte {
	switch {
	case len(f.kept) == 0:
		return []byte("null")
	case name == "first_id":
		return []byte(quoted(f.kept[0]))
	}
	return []byte(quoted(f.kept[len(f.kept)-1]))
}

// entry returns an entry without the aliases that are not permitted, or nil if
// its model is not.
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

// isOllama reports whether an entry's name is one that a request may have.
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

// withoutAliases leaves out of an entry the aliases that are not permitted.
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

// aliases returns those of an alias or of a list of them that are permitted; nil:
// none is.
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

// minimal is an entry for the only model, in the form of the list's others.
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

// defaultForm is the form of the entries of an empty list.
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

// valuesOf returns the values of an array that is valid JSON.
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

// textOf returns the text that a member has as its value.
func textOf(members []member, name string) (string, bool) {
	for _, m := range members {
		if m.name == name && m.value[0] == '"' {
			text, err := unquote(m.value)
			return text, err == nil
		}
	}
	return "", false
}

// object writes an object.
func object(members []member) []byte {
	pairs := make([][]byte, len(members))
	for i, m := range members {
		pairs[i] = slices.Concat([]byte(quoted(m.name)), []byte{':'}, m.value)
	}
	return join('{', pairs, '}')
}

// join writes values between two brackets.
func join(open byte, values [][]byte, end byte) []byte {
	out := append([]byte{open}, bytes.Join(values, []byte{','})...)
	return append(out, end)
}
