// Package dialect knows where the requests of an API name the model that they
// want: in the path, in the query, in a JSON body, in a form, or in a WebSocket's
// messages.
//
// A relay that holds a request to some models must read the name that the
// provider will read. Parsers differ, so what they could read differently is not
// guessed at but refused: a name that is there twice, or in another case, a
// second text after the first, a form whose parts could be cut in two ways. See
// [Unclear].
//
// The package is pure, and imports no other of this module.
package dialect

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Dialect is a family of APIs that name their models alike.
type Dialect struct {
	name string

	// paths have the model in them: it stands between a beginning and a mark,
	// «/model/» and "/" for «/model/x/invoke».
	paths []path

	// query lists the parameters that name a model, on those paths of which
	// inQuery says so. Where that is nil it is so for WebSockets.
	query   []string
	inQuery func(path string) bool

	// without are the paths that take no model: whatever name stands there is not
	// looked at by the provider.
	without []string

	// media are the paths whose bodies are recordings: no model is in them.
	media []string

	// member is what names the model in a JSON object or a form; empty: "model".
	member string

	// unrelated members of a JSON body have "model" in their name and name none.
	unrelated []string

	// containers are members that may hold further names, at any depth.
	containers []string

	// prefix may stand before every name, and means nothing.
	prefix string

	// messages tells of WebSockets that name their model in messages, by the
	// members in which they do.
	messages []string
}

// path is a place for a model's name in paths.
type path struct{ start, mark string }

// all are all dialects. The first is spoken by whoever speaks no other.
var all = []*Dialect{openai, anthropic, azure, bedrock, deepgram, elevenlabs, gemini, generic}

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

// Unclear says why it cannot be told which model a request names. It quotes
// nothing of the request but names of fields.
type Unclear struct{ Rule string }

func (u *Unclear) Error() string { return u.Rule }

func unclear(format string, args ...any) error { return &Unclear{fmt.Sprintf(format, args...)} }

// Request is what a request says of its model.
type Request struct {
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
	// Others are those that it makes use of besides, such as a tool's or a
	// fallback.
	Others []string
}

// add takes a name from one of the places that must agree.
func (n *Naming) add(model string) error {
	switch {
	case n.Model == "":
		n.Model = model
	case n.Model != model:
		return unclear("it names two different models")
	}
	return nil
}

// Name is the dialect's name.
func (d *Dialect) Name() string { return d.name }

// ReadsBody reports whether the body of a request with this path may name a
// model, so that [Dialect.Read] needs it.
func (d *Dialect) ReadsBody(path string) bool { return !slices.Contains(d.media, path) }

// NamedLater reports whether a WebSocket may name its model in messages, when its
// handshake does not. OpenAI's Realtime does for sessions that only transcribe.
func (d *Dialect) NamedLater(r *Request) bool {
	return r.WebSocket && d.ReadsMessages() && !slices.Contains(d.without, r.Path) &&
		(!d.writesQuery(r.Path) || slices.Contains(strings.Split(r.RawQuery, "&"), "intent=transcription"))
}

// ReadsMessages reports whether a WebSocket's messages may name models, so that
// all of them go through [Dialect.ReadMessage].
func (d *Dialect) ReadsMessages() bool { return len(d.messages) > 0 }

// Read finds out which models a request names. Its errors are [*Unclear].
func (d *Dialect) Read(r *Request) (Naming, error) {
	var n Naming
	if slices.Contains(d.without, r.Path) {
		return n, nil
	}
	start, end, err := d.inPath(r.Path)
	if err != nil {
		return n, err
	}
	if end > 0 {
		n.Model = d.trim(r.Path[start:end])
	}
	if err := d.readQuery(r, &n); err != nil {
		return n, err
	}
	if r.WebSocket || len(r.Body) == 0 || !d.ReadsBody(r.Path) {
		return n, nil
	}
	b, err := d.body(r)
	if err != nil {
		return n, err
	}
	if b.model != "" {
		err = n.add(b.model)
	}
	n.Others = append(n.Others, b.others...)
	return n, err
}

// body reads a body, whatever its form.
func (d *Dialect) body(r *Request) (body, error) {
	boundary, err := formBoundary(r.ContentType)
	switch {
	case err != nil:
		return body{}, err
	case boundary != "":
		return d.readForm(r.Body, boundary)
	}
	return d.readJSON(r.Body)
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
// provider reads it, over what is there. Its errors are [*Unclear].
func (d *Dialect) Write(r *Request, model string) error {
	start, end, err := d.inPath(r.Path)
	switch {
	case err != nil:
		return err
	case slices.Contains(d.without, r.Path):
		return unclear("this path takes no model")
	case r.WebSocket && !d.writesQuery(r.Path):
		return unclear("its model is named in messages, into which the relay writes none")
	case end > 0:
		if strings.Contains(model, "/") {
			return unclear("the model is named in the path, in which its name cannot stand")
		}
		r.Path = r.Path[:start] + model + r.Path[end:]
		return nil
	case d.writesQuery(r.Path):
		return d.writeQuery(r, model)
	}
	b, err := d.body(r)
	if err != nil {
		return err
	}
	text := b.absent
	if text == "" {
		text = "%s"
	}
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
	switch name := d.writes(); {
	case strings.ContainsFunc(field, func(c rune) bool { return c < ' ' || c == 0x7f }): // some servers stop reading there
		return false, false, unclear("a name in the request has a control character")
	case field == name:
		return true, false, nil
	case strings.EqualFold(field, name):
		return false, false, otherCase(name)
	case slices.Contains(d.unrelated, field):
		return false, false, nil
	}
	return false, strings.Contains(strings.ToLower(field), "model"), nil
}

func otherCase(name string) error {
	return unclear("%s is spelled in another case, which some servers take for the same", name)
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
