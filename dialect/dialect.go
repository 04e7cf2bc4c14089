// Package dialect reads and edits the requests and answers of AI providers.
//
// # Models
//
// A request names its model in the path, the query, a JSON body, a form, or the
// messages of a WebSocket. [Dialect.Read] finds the name, and [Dialect.Write]
// replaces it. [Dialect.FilterModels] filters lists of models.
//
// A relay that restricts models must read the same name as the provider. Parsers
// differ, so the package refuses everything ambiguous: duplicate names, names in
// another case, data after the first value, forms that can be split in two ways.
// See [Unclear].
//
// The provider may be a gateway that merges a member such as extra_body into the
// request. The package searches such members in every dialect.
//
// # Usage
//
// A [Meter] reads the usage from an answer as it passes, and a [SocketMeter] from
// the messages of a WebSocket. Both return a [Reading]. Each dialect's file maps
// the fields of its provider to [Usage] and cites the page.
//
// # Budgets
//
// [Dialect.Bound] returns the most that a request can use, and [Session] does so
// for the messages of a WebSocket. Both refuse requests without a bound. See
// [Unbounded]. [Dialect.SetCap] caps the output, [Dialect.AskUsage] asks a stream
// for its usage, and a [Withholder] hides that usage from the client.
//
// The package is pure and imports no other package of this module.
package dialect

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// Dialect is a family of APIs that name their models in the same places.
type Dialect struct {
	name string

	// places lists where paths name a model.
	places []place

	// query lists the parameters that name a model on the paths of inQuery. If
	// inQuery is nil, they name it on WebSockets.
	query   []string
	inQuery func(path string) bool

	// without lists the paths that take no model. The provider ignores any name
	// there.
	without []string

	// lists has the paths of model lists. A further segment below a list names
	// one model.
	lists []string

	// listsAnywhere treats every path with a segment "models" as a list.
	listsAnywhere bool

	// media lists the paths whose bodies are recordings and name no model.
	media []string

	// member is the field that names the model in a body. Empty means "model".
	member string

	// unrelated lists fields with "model" in their name that name no model.
	unrelated []string

	// containers lists fields that may hold further names at any depth.
	containers []string

	// prefix is an optional prefix of every name.
	prefix string

	// messages lists the fields by which a WebSocket's messages name the model.
	// Empty means that messages name none.
	messages []string

	// words maps folded names with a meaning in a body, except the model's own.
	words map[string]word
}

// word describes a field by its name.
type word struct {
	exact string // the provider's spelling
	role  role
}

// role is a set of meanings that a field may have.
type role uint8

const (
	holdsNames role = 1 << iota // is a container of further names
	holdsInMessages
	isMerged   // is merged into the request by a gateway
	isAlias    // names a further model
	isIndirect // selects a model that the request does not name
	isMetadata
)

// all lists all dialects.
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

// Lookup returns the dialect with a name. The empty name means the generic dialect,
// which searches all places that any other dialect searches.
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

// Unclear is the error for a request that parsers can read in different ways. Its
// rule says what to send instead. It quotes only names of fields.
type Unclear struct{ Rule string }

func (u *Unclear) Error() string { return u.Rule }

func unclear(format string, args ...any) error { return &Unclear{fmt.Sprintf(format, args...)} }

// Request is a request as far as the package reads it.
type Request struct {
	Method      string // empty means a method that changes something, such as POST
	Path        string // decoded once
	RawQuery    string // each parameter must parse
	ContentType string // empty means that the header is absent
	Body        []byte // whole and without content coding; nil means no body
	WebSocket   bool   // whether the request opens a WebSocket
}

// Naming lists the models that a request names.
type Naming struct {
	// Model is the requested model. Empty means that the request names none.
	Model string
	// Others lists further models that it uses, such as a tool's or a fallback.
	Others []string
}

// add sets the model, or checks that it agrees with the name from another place.
func (n *Naming) add(model string) error {
	switch {
	case n.Model == "":
		n.Model = model
	case n.Model != model:
		return errTwoModels
	}
	return nil
}

// split appends each name of comma-separated lists. Gateways such as LiteLLM call
// every model of "a,b", or one after the other.
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

// Name returns the dialect's name.
func (d *Dialect) Name() string { return d.name }

// ListsModels reports whether a request asks for a list of models, or for the
// entry of one model. Filter its answer with [Dialect.FilterModels].
func (d *Dialect) ListsModels(r *Request) bool {
	if !r.reads() {
		return false
	}
	_, ok := d.listed(r.Path)
	return ok
}

// reads reports whether a request only reads.
func (r *Request) reads() bool {
	return !r.WebSocket && (r.Method == http.MethodGet || r.Method == http.MethodHead)
}

// TakesModel reports whether a request runs or shows a model and so must name one.
// It is false for lists of models and for paths where the provider reads no model.
func (d *Dialect) TakesModel(r *Request) bool {
	return !slices.Contains(d.without, r.Path) && (!d.ListsModels(r) || d.shown(r) != "")
}

// ReadsBody reports whether the body of a request with this path may name a model.
// If so, [Dialect.Read] needs the body.
func (d *Dialect) ReadsBody(path string) bool { return !slices.Contains(d.media, path) }

// NamedLater reports whether a WebSocket may name its model in messages instead of
// the handshake. OpenAI's Responses API always does. Realtime does so for sessions
// that only transcribe.
func (d *Dialect) NamedLater(r *Request) bool {
	return r.WebSocket && d.ReadsMessages() && !slices.Contains(d.without, r.Path) &&
		(!d.writesQuery(r.Path) || slices.Contains(strings.Split(r.RawQuery, "&"), "intent=transcription"))
}

// NamesInMessages reports whether a WebSocket's messages name the model that is billed. On
// a Realtime socket whose handshake names one, session.update cannot change it, and its
// messages may name the model of transcripts
// (https://developers.openai.com/api/reference/resources/realtime/client-events).
func (d *Dialect) NamesInMessages(r *Request) bool {
	return r.WebSocket && d.ReadsMessages() && (isResponses(r.Path) || d.NamedLater(r))
}

// ReadsMessages reports whether a WebSocket's messages may name models. If so, check
// each message with [Dialect.ReadMessageOn].
func (d *Dialect) ReadsMessages() bool { return len(d.messages) > 0 }

// Read returns the models that a request names. Its errors are [*Unclear].
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

// storesPrompts reports whether the provider may run stored prompts by their path
// (https://portkey.ai/docs/api-reference/inference-api/prompts/prompt-completion).
func (d *Dialect) storesPrompts() bool { return d == openai || d == generic }

// body reads the names in a JSON body or a form.
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

// body is the result of reading a body: the names, and where to write the model.
type body struct {
	model      string
	others     []string
	named      bool   // whether a container names the model that the provider uses
	start, end int    // the range of the model's value, or where to insert one
	absent     string // the text to insert, with %s for the name; empty if there is a value
}

// Write replaces the model's name in the place where the provider reads it. It does
// not change requests that take no model. Its errors are [*Unclear].
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

// writePath writes the model into the path, and into the body if the body names one
// too. OpenAI's SDKs for Azure send both.
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

// writeBody writes the model into the body. A body without a model changes only if
// insert is set.
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

// names reports whether a field names the model, or another model.
func (d *Dialect) names(field string) (primary, other bool, err error) {
	folded := fold(field)
	return d.namesFolded(field, folded, d.words[folded])
}

// namesFolded is like names for a field whose folded name and word are known.
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

// quotable returns the name of a field for an error. It hides long names, because
// they may be secrets.
func quotable(name string) string {
	if len(name) > 40 {
		return "(a long name)"
	}
	return name
}

// Errors with several causes.
var (
	errTwoModels = unclear("model: the request names two different models; name one")
	errEmpty     = unclear("model: the name is empty; set it, or remove the field")
)

func otherCase(name string) error {
	return unclear("field %q: it is spelled in another case, which some servers accept; use this spelling", name)
}

// fold maps all spellings that some server accepts for a name to one. Two letters
// beyond ASCII fold to ASCII.
func fold(name string) string {
	name = lowerASCII(name)
	for i := range len(name) {
		if name[i] >= utf8.RuneSelf {
			return strings.ReplaceAll(strings.ToLower(name), "ſ", "s") // ToLower makes a k of the Kelvin sign
		}
	}
	return name
}

// writes returns the field in which a body names the model.
func (d *Dialect) writes() string { return cmp.Or(d.member, "model") }

// trim removes the optional prefix of a name.
func (d *Dialect) trim(name string) string {
	if d.prefix == "" {
		return name
	}
	return strings.TrimPrefix(name, d.prefix)
}
