// Package dialect knows where the requests of an API name the model that they
// want: in the path, in the query, in a JSON body, in a form, or in a WebSocket's
// messages. It also knows which paths list models, and filters such lists.
//
// A relay that holds a request to some models must read the name that the
// provider will read. Parsers differ, so whatever they could read differently is
// refused: a name that is there twice, or in another case, a second text after
// the first, a form whose parts could be cut in two ways. See [Unclear].
//
// The provider may be a gateway that merges a member of the body into the
// request before it forwards it, such as extra_body. Such members are looked
// into, whatever the dialect.
//
// The package is pure, and imports no other of this module.
package dialect

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// Dialect is a family of APIs that name their models alike.
type Dialect struct {
	name string

	// places are where paths name a model.
	places []place

	// query lists the parameters that name a model, on the paths of inQuery. If
	// inQuery is nil, they do so for WebSockets.
	query   []string
	inQuery func(path string) bool

	// without are the paths that take no model. The provider does not look at
	// whatever name stands there.
	without []string

	// lists are the paths of model lists. Below each, a further segment names
	// one model.
	lists []string

	// listsAnywhere is set if every path with a segment "models" is a list.
	listsAnywhere bool

	// media are the paths whose bodies are recordings: no model is in them.
	media []string

	// member names the model in a JSON object or a form; empty: "model".
	member string

	// unrelated members of a JSON body have "model" in their name and name none.
	unrelated []string

	// containers are members that may hold further names, at any depth.
	containers []string

	// prefix may stand before every name, and means nothing.
	prefix string

	// messages are the members by which a WebSocket's messages name the model;
	// empty: messages name none.
	messages []string

	// words are the names that mean something in a body besides the model's own,
	// folded.
	words map[string]word
}

// word is what a member of a certain name may be.
type word struct {
	exact string // how the provider spells it
	role  role
}

// role is a set of what members may be.
type role uint8

const (
	holdsNames role = 1 << iota // further names, as a container
	holdsInMessages
	isMerged   // into the request, by a gateway
	isAlias    // a further model's name
	isIndirect // a model that the request does not name
	isMetadata
)

// all are all dialects. The first is spoken by whoever speaks no other.
var all = []*Dialect{openai, anthropic, azure, bedrock, deepgram, elevenlabs, gemini, generic}

func init() {
	for _, d := range all {
		for i := range d.places {
			d.places[i].folded = lowerASCII(d.places[i].start)
		}
		d.words = map[string]word{"metadata": {"metadata", isMetadata}}
		for _, list := range []struct {
			names []string
			role  role
		}{
			{d.messages, holdsInMessages},
			{d.containers, holdsNames | holdsInMessages},
			{scalars, holdsNames | holdsInMessages},
			{merged, holdsNames | holdsInMessages | isMerged},
			{aliases, isAlias},
			{indirect, isIndirect},
		} {
			for _, name := range list.names {
				d.words[fold(name)] = word{name, d.words[fold(name)].role | list.role}
			}
		}
	}
}

// Lookup returns the dialect of a name; the empty name is that of the generic
// one, which looks wherever any other does.
func Lookup(name string) (*Dialect, bool) {
	if name == "" {
		return generic, true
	}
	for _, d := range all {
		if d.name == name {
			return d, true
		}
	}
	return nil, false
}

// Names returns the names of all dialects.
func Names() []string {
	names := make([]string, len(all))
	for i, d := range all {
		names[i] = d.name
	}
	return names
}

// Unclear says why it cannot be told which model a request names, and what to
// write instead. It quotes nothing of the request except names of fields.
type Unclear struct{ Rule string }

func (u *Unclear) Error() string { return u.Rule }

func unclear(format string, args ...any) error { return &Unclear{fmt.Sprintf(format, args...)} }

// Request is what a request says of its model.
type Request struct {
	Method      string // empty: one that changes something, such as POST
	Path        string // decoded once
	RawQuery    string // each parameter must parse
	ContentType string // empty: there is none
	Body        []byte // whole, without content coding; nil: there is none
	WebSocket   bool   // asks for one
}

// Naming is what models a request names.
type Naming struct {
	// Model is the one that it wants; empty: it does not say.
	Model string
	// Others are those that it uses besides, such as a tool's or a fallback.
	Others []string
}

// add takes a name from one of the places that must agree.
func (n *Naming) add(model string) error {
	switch {
	case n.Model == "":
		n.Model = model
	case n.Model != model:
		return errTwoModels
	}
	return nil
}

// split adds the names in a list of names: LiteLLM asks each model of
// "a,b", and other gateways ask one after the other.
func split(others []string, names ...string) []string {
	for _, name := range names {
		if !strings.Contains(name, ",") {
			continue
		}
		for one := range strings.SplitSeq(name, ",") {
			if one = strings.TrimSpace(one); one != "" {
				others = append(others, one)
			}
		}
	}
	return others
}

// Name is the dialect's name.
func (d *Dialect) Name() string { return d.name }

// ListsModels reports whether a request asks for a list of models, or for the
// entry of one. Its answer goes through [Dialect.FilterModels].
func (d *Dialect) ListsModels(r *Request) bool {
	if !r.reads() {
		return false
	}
	_, ok := d.listed(r.Path)
	return ok
}

// reads reports whether a request changes nothing and runs nothing.
func (r *Request) reads() bool {
	return !r.WebSocket && (r.Method == http.MethodGet || r.Method == http.MethodHead)
}

// TakesModel reports whether a request runs or shows a model, so that it must
// name one. It is false for lists of models, and for paths where the provider
// looks at no model: these are decided by their route alone.
func (d *Dialect) TakesModel(r *Request) bool {
	return !slices.Contains(d.without, r.Path) && (!d.ListsModels(r) || d.shown(r) != "")
}

// ReadsBody reports whether the body of a request with this path may name a
// model, so that [Dialect.Read] needs it.
func (d *Dialect) ReadsBody(path string) bool { return !slices.Contains(d.media, path) }

// NamedLater reports whether a WebSocket may name its model in messages, when its
// handshake does not. OpenAI's Responses API always does, and Realtime does for
// sessions that only transcribe.
func (d *Dialect) NamedLater(r *Request) bool {
	return r.WebSocket && d.ReadsMessages() && !slices.Contains(d.without, r.Path) &&
		(!d.writesQuery(r.Path) || slices.Contains(strings.Split(r.RawQuery, "&"), "intent=transcription"))
}

// ReadsMessages reports whether a WebSocket's messages may name models, so that
// all of them go through [Dialect.ReadMessageOn].
func (d *Dialect) ReadsMessages() bool { return len(d.messages) > 0 }

// Read finds out which models a request names. Its errors are [*Unclear].
func (d *Dialect) Read(r *Request) (Naming, error) {
	var n Naming
	if !d.TakesModel(r) {
		return n, nil
	}
	if d.storesPrompts() && strings.Contains(r.Path, "/prompts/") {
		return n, unclear("path: it runs a stored prompt, which names its own model; send the prompt itself and name the model")
	}
	found, err := d.inPath(r)
	if err != nil {
		return n, err
	}
	n.Model = found.name(d, r.Path)
	if err := d.readQuery(r, &n); err != nil {
		return n, err
	}

	if !r.WebSocket && len(r.Body) > 0 && d.ReadsBody(r.Path) {
		b, err := d.body(r)
		if err != nil {
			return n, err
		}
		if b.model != "" {
			if err := n.add(b.model); err != nil {
				return n, err
			}
		}
		n.Others = append(n.Others, b.others...)
	}
	n.Others = split(split(n.Others, n.Others...), n.Model)
	return n, nil
}

// storesPrompts reports whether the provider may be a gateway that runs stored
// prompts by their path (https://portkey.ai/docs/api-reference/inference-api/prompts/prompt-completion).
func (d *Dialect) storesPrompts() bool { return d == openai || d == generic }

// body reads a body, whatever its form.
func (d *Dialect) body(r *Request) (body, error) {
	boundary, err := formBoundary(r.ContentType)
	switch {
	case err != nil:
		return body{}, err
	case boundary != "":
		return d.readForm(r.Body, boundary)
	}
	return d.readJSON(r.Path, r.Body)
}

// body is what a body says, and where: it is what the model's name is written over.
type body struct {
	model      string
	others     []string
	named      bool   // a container names a model as the provider reads it
	start, end int    // of the model's value; where there is none, where to write one
	absent     string // then, what to write, with %s for the name
}

// Write writes the name of a model into the request, in the place where the
// provider reads it, over what is there. A request that takes no model stays as
// it is. Its errors are [*Unclear].
func (d *Dialect) Write(r *Request, model string) error {
	found, err := d.inPath(r)
	switch {
	case !d.TakesModel(r):
		return nil
	case err != nil:
		return err
	case r.WebSocket && !d.writesQuery(r.Path):
		return unclear("model: this WebSocket names it in messages, which cannot be rewritten to the token's model; send HTTP requests, or use a token that permits the model instead of setting it")
	case found.end > 0:
		return d.writePath(r, &found, model)
	case d.writesQuery(r.Path):
		return d.writeQuery(r, model)
	}
	return d.writeBody(r, model, true)
}

// writePath writes the model into the path, and into the body if that names one
// too: OpenAI's SDKs for Azure do both.
func (d *Dialect) writePath(r *Request, found *spot, model string) error {
	path, err := found.write(r.Path, model)
	if err != nil {
		return err
	}
	r.Path = path
	if len(r.Body) == 0 || !d.ReadsBody(r.Path) {
		return nil
	}
	return d.writeBody(r, model, false)
}

// writeBody writes the model into the body. If the body names none, it does so
// only if insert is set.
func (d *Dialect) writeBody(r *Request, model string, insert bool) error {
	b, err := d.body(r)
	if err != nil || b.absent != "" && !insert {
		return err
	}
	text := cmp.Or(b.absent, "%s")
	if boundary, _ := formBoundary(r.ContentType); boundary == "" {
		model = quoted(model)
	}
	written := make([]byte, 0, len(r.Body)+len(text)+len(model))
	written = append(written, r.Body[:b.start]...)
	written = append(written, strings.Replace(text, "%s", model, 1)...)
	r.Body = append(written, r.Body[b.end:]...)
	return nil
}

// names reports whether a field names a model, and whether its name is one that
// parsers could tell apart from that.
func (d *Dialect) names(field string) (primary, other bool, err error) {
	folded := fold(field)
	return d.namesFolded(field, folded, d.words[folded])
}

// namesFolded is names for a field whose folded name and word are known.
func (d *Dialect) namesFolded(field, folded string, w word) (primary, other bool, err error) {
	switch name := d.writes(); {
	case hasControl(field): // some servers stop reading there
		return false, false, unclear("field name: it has a control character; remove it")
	case field == name:
		return true, false, nil
	case strings.EqualFold(field, name):
		return false, false, otherCase(name)
	case slices.Contains(d.unrelated, field):
		return false, false, nil
	}
	return false, w.role&isAlias != 0 || strings.Contains(folded, "model"), nil
}

func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// quotable returns the name of a field for an error, unless it is so long that it
// may be a secret.
func quotable(name string) string {
	if len(name) > 40 {
		return "(a long name)"
	}
	return name
}

// Errors of several places.
var (
	errTwoModels = unclear("model: the request names two different models; name one")
	errEmpty     = unclear("model: the name is empty; set it, or remove the field")
)

func otherCase(name string) error {
	return unclear("field %q: it is spelled in another case, which some servers accept; use this spelling", name)
}

// fold maps names that some server takes for the same, whatever their case, to
// one: two letters beyond ASCII fold to ASCII.
func fold(name string) string {
	name = lowerASCII(name)
	for i := range len(name) {
		if name[i] >= utf8.RuneSelf {
			return strings.ReplaceAll(strings.ToLower(name), "ſ", "s") // ToLower makes a k of the Kelvin sign
		}
	}
	return name
}

// writes is the name under which a body has the model.
func (d *Dialect) writes() string { return cmp.Or(d.member, "model") }

// trim removes what may stand before a name.
func (d *Dialect) trim(name string) string {
	if d.prefix == "" {
		return name
	}
	return strings.TrimPrefix(name, d.prefix)
}
