package dialect

import (
	"net/url"
	"slices"
	"strings"
)

// place is where a model's name stands in paths: after a text that begins and
// ends with a slash.
type place struct {
	start  string
	folded string // start in small letters, set at init

	// length returns how much of what follows is the name; 0: none of it.
	length func(rest string) int

	// collection is what the name begins with, if it is no model's own name:
	// "tunedModels/".
	collection string

	// whole is set if servers read a name with slashes here.
	whole bool
}

// Places that several dialects have.
var (
	// OpenAI's first API, and LiteLLM, whose names may have slashes
	// (https://docs.litellm.ai/docs/proxy/user_keys).
	enginePlace     = place{start: "/engines/", length: toAction, whole: true}
	deploymentPlace = place{start: "/openai/deployments/", length: toAction, whole: true}

	// Gemini and Vertex AI
	// (https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference).
	// A tuned model or an endpoint may be called like a model and is another one.
	geminiPlace   = place{start: "/models/", length: toColon}
	tunedPlace    = place{start: "/tunedModels/", length: toColon, collection: "tunedModels/"}
	endpointPlace = place{start: "/endpoints/", length: toEndpoint, collection: "endpoints/"}

	// Elsewhere a name may have slashes and be followed by an action:
	// Replicate, Hugging Face, KServe, Databricks.
	modelsPlace  = place{start: "/models/", length: toMethod, whole: true}
	servingPlace = place{start: "/serving-endpoints/", length: toMethod, whole: true}

	// Cloudflare, DeepInfra and llama-swap.
	runPlace       = place{start: "/ai/run/", length: toEnd, whole: true}
	inferencePlace = place{start: "/v1/inference/", length: toEnd, whole: true}
	upstreamPlace  = place{start: "/upstream/", length: toSlash}

	// Bedrock: what follows the last slash is the operation. An inference
	// profile's ARN has slashes of its own, escaped.
	bedrockPlace = place{start: "/model/", length: toLastSlash}
)

// actions are what follows a model's name in paths. A longer one stands before
// the one that it ends in.
var actions = []string{
	"/extensions/chat/completions", "/v1/chat/completions", "/chat/completions", "/v1/completions", "/completions",
	"/v1/embeddings", "/embeddings", "/images/generations", "/images/edits", "/images/variations",
	"/audio/speech", "/audio/transcriptions", "/audio/translations", "/moderations", "/v1/responses", "/responses",
	"/rerank", "/realtime", "/messages", "/edits", "/predictions", "/predict", "/infer", "/invocations", "/generate",
	"/generate_stream", "/text_to_image",
}

func toSlash(rest string) int { return max(strings.IndexByte(rest, '/'), 0) }

func toLastSlash(rest string) int { return max(strings.LastIndexByte(rest, '/'), 0) }

// toColon ends at the last colon: what follows it is the method.
func toColon(rest string) int { return max(strings.LastIndexByte(rest, ':'), 0) }

func toEnd(rest string) int { return len(strings.TrimRight(rest, "/")) }

// toAction ends at the action, or else at the first slash.
func toAction(rest string) int {
	for _, action := range actions {
		if name, ok := strings.CutSuffix(rest, action); ok && name != "" {
			return len(name)
		}
	}
	return toSlash(rest)
}

// toMethod ends at a method or an action, or else is all there is.
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

// toEndpoint ends at the method or the first slash. The endpoint openapi takes
// the model in the body.
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
	at, end int // end 0: there is none
}

// inPath finds a model's name in the path. Of several places the first one in
// the path counts: it is by its beginning that a server routes.
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

// lowerASCII changes no length, as strings.ToLower may.
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

// name is the name that stands there, as a token has it.
func (s *spot) name(d *Dialect, path string) string {
	if s.end == 0 {
		return ""
	}
	return d.trim(s.collection + path[s.at:s.end])
}

// write writes a model's name over the one that stands there.
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

// listed returns what follows the path of a model list: nothing, or the name of
// the one model that is asked for.
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

// shown is the model whose entry a request asks for; "": it asks for none.
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

// writeQuery replaces the parameter that names the model. The others keep their
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
