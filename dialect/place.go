package dialect

import (
	"net/url"
	"slices"
	"strings"
)

// place describes where paths name a model: after a text that begins and ends with
// a slash.
type place struct {
	start  string
	folded string // start in lower case, set at init

	// length returns the length of the name in the rest of the path, or 0.
	length func(rest string) int

	// collection is the prefix of names that are no model's own, such as
	// "tunedModels/".
	collection string

	// whole allows names with slashes.
	whole bool
}

// Places that several dialects have.
var (
	// OpenAI's first API and LiteLLM, whose names may have slashes
	// (https://docs.litellm.ai/docs/proxy/user_keys).
	enginePlace     = place{start: "/engines/", length: toAction, whole: true}
	deploymentPlace = place{start: "/openai/deployments/", length: toAction, whole: true}

	// Gemini and Vertex AI
	// (https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference).
	// A tuned model or an endpoint may have the same name as a model.
	geminiPlace   = place{start: "/models/", length: toColon}
	tunedPlace    = place{start: "/tunedModels/", length: toColon, collection: "tunedModels/"}
	endpointPlace = place{start: "/endpoints/", length: toEndpoint, collection: "endpoints/"}

	// Replicate, Hugging Face, KServe and Databricks: names may have slashes, and
	// an action may follow.
	modelsPlace  = place{start: "/models/", length: toMethod, whole: true}
	servingPlace = place{start: "/serving-endpoints/", length: toMethod, whole: true}

	// Cloudflare, DeepInfra and llama-swap.
	runPlace       = place{start: "/ai/run/", length: toEnd, whole: true}
	inferencePlace = place{start: "/v1/inference/", length: toEnd, whole: true}
	upstreamPlace  = place{start: "/upstream/", length: toSlash}

	// Bedrock: the operation follows the last slash. Inference profiles have ARNs
	// with escaped slashes.
	bedrockPlace = place{start: "/model/", length: toLastSlash}
)

// actions lists the texts that follow a model's name in paths. A longer action
// precedes the one that it ends in.
var actions = []string{
	"/extensions/chat/completions", "/v1/chat/completions", "/chat/completions", "/v1/completions", "/completions",
	"/v1/embeddings", "/embeddings", "/images/generations", "/images/edits", "/images/variations",
	"/audio/speech", "/audio/transcriptions", "/audio/translations", "/moderations", "/v1/responses", "/responses",
	"/rerank", "/realtime", "/messages", "/edits", "/predictions", "/predict", "/infer", "/invocations", "/generate",
	"/generate_stream", "/text_to_image",
}

func toSlash(rest string) int { return max(strings.IndexByte(rest, '/'), 0) }

func toLastSlash(rest string) int { return max(strings.LastIndexByte(rest, '/'), 0) }

// toColon ends at the last colon, which precedes the method.
func toColon(rest string) int { return max(strings.LastIndexByte(rest, ':'), 0) }

func toEnd(rest string) int { return len(strings.TrimRight(rest, "/")) }

// toAction ends at an action, or else at the first slash.
func toAction(rest string) int {
	for _, action := range actions {
		if name, ok := strings.CutSuffix(rest, action); ok && name != "" {
			return len(name)
		}
	}
	return toSlash(rest)
}

// toMethod ends at a method or an action, or else at the end.
func toMethod(rest string) int {
	if i := toColon(rest); i > 0 && !strings.Contains(rest[i:], "/") {
		return i
	}
	if slices.Contains(actions, "/"+rest) { // "/models" was the base of an API
		return 0
	}
	for _, action := range actions {
		if name, ok := strings.CutSuffix(rest, action); ok {
			return len(name)
		}
	}
	return toEnd(rest)
}

// toEndpoint ends at the method or the first slash. The endpoint openapi reads the
// model from the body.
func toEndpoint(rest string) int {
	if i := toColon(rest); i > 0 {
		return i
	}
	if i := toSlash(rest); rest[:i] != "openapi" {
		return i
	}
	return 0
}

// spot is a model's name in a path.
type spot struct {
	place
	at, end int // end 0 means that the path names none
}

// inPath finds a model's name in the path. The first of several places wins, because
// servers route by the beginning of a path.
func (d *Dialect) inPath(r *Request) (spot, error) {
	path := r.Path
	if shown := d.shown(r); shown != "" {
		at := strings.LastIndex(path, shown)
		return spot{place: place{whole: true}, at: at, end: at + len(shown)}, nil
	}
	var found spot
	folded := lowerASCII(path)
	for _, p := range d.places {
		i := strings.Index(folded, p.folded)
		if i < 0 {
			continue
		}
		at := i + len(p.start)
		if path[i:at] != p.start {
			return found, otherCase(p.start)
		}
		n := p.length(path[at:])
		if n > 0 && (found.end == 0 || at < found.at) {
			found = spot{place: p, at: at, end: at + n}
		}
	}
	return found, nil
}

// lowerASCII lowers ASCII letters. Unlike strings.ToLower it keeps the length.
func lowerASCII(s string) string {
	var b []byte
	for i := range len(s) {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			if b == nil {
				b = []byte(s)
			}
			b[i] = c + 'a' - 'A'
		}
	}
	if b == nil {
		return s
	}
	return string(b)
}

// name returns the name in the path, spelled as in tokens.
func (s *spot) name(d *Dialect, path string) string {
	if s.end == 0 {
		return ""
	}
	return d.trim(s.collection + path[s.at:s.end])
}

// write replaces the name in the path.
func (s *spot) write(path, model string) (string, error) {
	switch {
	case strings.Contains(model, "/") && !s.whole:
		return "", unclear("model: the token's model has a slash and cannot be written into this path; use a path whose body names the model")
	case s.collection == tunedPlace.collection:
		return path[:s.at-len(s.collection)] + "models/" + model + path[s.end:], nil
	case s.collection != "":
		return "", unclear("path: it names an endpoint, which the token's model cannot replace; use a path that names a model")
	}
	return path[:s.at] + model + path[s.end:], nil
}

// listed returns the rest of a path after that of a model list: empty, or the name of
// a single model.
func (d *Dialect) listed(path string) (rest string, ok bool) {
	for _, list := range d.lists {
		if rest, ok := strings.CutPrefix(path, list); ok && (rest == "" || rest[0] == '/') {
			return strings.Trim(rest, "/"), true
		}
	}
	if !d.listsAnywhere {
		return "", false
	}
	if _, rest, ok := strings.Cut(path+"/", "/models/"); ok {
		return strings.Trim(rest, "/"), true
	}
	return "", strings.HasSuffix(path, "/api/tags")
}

// shown returns the model whose entry a request asks for, or an empty text.
func (d *Dialect) shown(r *Request) string {
	if !r.reads() {
		return ""
	}
	rest, _ := d.listed(r.Path)
	return strings.TrimSuffix(rest, "/endpoints") // OpenRouter's, of one model
}

func (d *Dialect) writesQuery(path string) bool { return d.inQuery != nil && d.inQuery(path) }

func (d *Dialect) readQuery(r *Request, n *Naming) error {
	if r.RawQuery == "" {
		return nil
	}
	counts := d.writesQuery(r.Path) || d.inQuery == nil && r.WebSocket
	seen := make(map[string]bool)
	for pair := range strings.SplitSeq(r.RawQuery, "&") {
		name, value, err := unescapePair(pair)
		if err != nil {
			return err
		}
		listed := slices.Contains(d.query, name)
		named, other, err := d.names(name)
		switch i := slices.IndexFunc(d.query, func(q string) bool { return strings.EqualFold(q, name) }); {
		case !listed && i >= 0:
			return otherCase(d.query[i])
		case !listed && err != nil:
			return err
		case !listed && !named && !other:
			continue
		case seen[name]:
			return unclear("parameter %q: it occurs twice; send it once", quotable(name))
		case value == "":
			return unclear("parameter %q: it is empty; set it, or remove it", quotable(name))
		}
		seen[name] = true
		if !listed || !counts { // the provider does not read it here
			n.Others = append(n.Others, d.trim(value))
		} else if err := n.add(d.trim(value)); err != nil {
			return err
		}
	}
	return nil
}

func unescapePair(pair string) (name, value string, err error) {
	name, value, _ = strings.Cut(pair, "=")
	name, err1 := url.QueryUnescape(name)
	value, err2 := url.QueryUnescape(value)
	if err1 != nil || err2 != nil {
		return "", "", unclear("query: it does not parse; write a percent sign as %%25")
	}
	return name, value, nil
}

// writeQuery replaces the parameter that names the model. Other parameters keep their
// bytes.
func (d *Dialect) writeQuery(r *Request, model string) error {
	var pairs []string
	written := d.query[0]
	for pair := range strings.SplitSeq(r.RawQuery, "&") {
		name, _, err := unescapePair(pair)
		switch {
		case err != nil:
			return err
		case slices.Contains(d.query, name):
			written = name
		case pair != "":
			pairs = append(pairs, pair)
		}
	}
	r.RawQuery = strings.Join(append(pairs, written+"="+url.QueryEscape(model)), "&")
	return nil
}
