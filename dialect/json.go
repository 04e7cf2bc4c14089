package dialect

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Limits of a request. They bound the work of reading it by its length.
const (
	maxMembers = 1000    // fields of the outer object
	maxValues  = 100_000 // values in a field that is searched
	maxNames   = 100     // names of models
	maxParts   = 1000    // parts of a form
)

// indirect lists fields that select a model through something stored in the account.
// Azure's data sources do so for embeddings, and so do LiteLLM's prompts
// (https://docs.litellm.ai/docs/proxy/prompt_management). All are in lower case.
var indirect = []string{
	"assistant", "assistant_id", "agent", "agent_id", "preset", "agent_reference", "input_file_id", "data_sources",
	"prompt_id",
}

// aliases lists fields that name a further model without "model" in their name:
// LiteLLM's deployment and fallbacks, and the adapters of LoRAX, TGI
// (https://huggingface.co/docs/text-generation-inference/conceptual/lora) and SGLang.
// All are in lower case.
var aliases = []string{"deployment_id", "context_window_fallback_dict", "adapter_id", "merged_adapters", "lora_path"}

// merged lists fields that gateways merge into the request, or whose settings may
// name models: LiteLLM's
// (https://docs.litellm.ai/docs/completion/provider_specific_params), Portkey's
// (https://portkey.ai/docs/api-reference/inference-api/config-object), and the AI
// SDK's options for a provider
// (https://vercel.com/docs/ai-gateway/models-and-providers/provider-options).
var merged = []string{
	"extra_body", "extra_params", "extra_query", "extra_headers", "optional_params", "litellm_params", "litellm_metadata",
	"user_config", "router_settings_override", "override_params", "overrideparams", "targets",
	"provideroptions", "provider_options",
}

// scalars lists further such fields, in which a plain text names no model: OpenRouter's
// provider (https://openrouter.ai/docs/guides/routing/provider-selection), a
// config, and the parameters of LoRAX and TGI.
var scalars = []string{"provider", "config", "parameters"}

// mergesMetadata reports whether a gateway may merge the field metadata into the
// request. new-api does so for videos. Elsewhere metadata belongs to the caller.
func mergesMetadata(path string) bool { return strings.Contains(path, "/video") }

// schemas lists fields of tools with free content. A schema may well have a property
// called model. The field "parameters" is not listed: those of a function are
// schemas, and those of a hosted tool may name a model.
var schemas = []string{
	"parametersJsonSchema", "parameters_json_schema", "input_schema", "input_examples", "inputSchema",
	"json_schema", "responseSchema", "response_schema", "responseJsonSchema", "response_json_schema", "response", "schema",
}

// readJSON finds the names in a JSON object. It refuses ambiguous texts: duplicate
// names, invalid UTF-8, a byte order mark, more than one value.
func (d *Dialect) readJSON(path string, data []byte) (body, error) {
	r := &reader{d: d, path: path}
	err := r.read(data)
	return r.body, err
}

// ReadMessage is like [Dialect.ReadMessageOn] for a WebSocket that is not one of
// OpenAI's Responses API.
func (d *Dialect) ReadMessage(data []byte) (names []string, named bool, err error) {
	return d.ReadMessageOn("", data)
}

// ReadMessageOn returns the models that a message of a WebSocket with this path
// names. It also reports whether one of them is the session's model. Its errors are
// [*Unclear].
//
// Realtime messages name the model in the field session or response. On the socket of
// the Responses API every response.create names its model like the body of a POST
// (https://developers.openai.com/api/docs/guides/websocket-mode). Gateways also accept
// it in a field response. ReadMessageOn refuses a response.create without a model,
// because the provider's choice is unknown.
func (d *Dialect) ReadMessageOn(path string, data []byte) (names []string, named bool, err error) {
	r := &reader{d: d, path: path, message: true}
	if err := r.read(data); err != nil {
		return nil, false, err
	}
	names = r.others
	if r.model != "" {
		names = append(names, r.model)
	}
	if !isResponses(path) {
		return split(names, names...), r.named, nil
	}

	creates := r.event == "response.create"
	named = creates && (r.model != "" || r.named)
	if creates && !named {
		return nil, false, unclear("response.create: it names no model; set model in each")
	}
	return split(names, names...), named, nil
}

// isResponses reports whether a WebSocket with this path is one of the Responses API
// instead of Realtime.
func isResponses(path string) bool {
	return strings.HasSuffix(strings.TrimRight(path, "/"), "/responses")
}

// reader finds the names in one JSON text.
type reader struct {
	body
	d       *Dialect
	path    string
	message bool              // whether it is a message of a WebSocket
	event   string            // the type of the message
	dec     *jsontext.Decoder // decodes the value that is searched
	into    string            // the field with that value
}

var errNotJSON = unclear("body: it is not JSON that every parser reads alike (RFC 7493); send one JSON object in UTF-8 without duplicate names")

// read reads the text.
func (r *reader) read(data []byte) error {
	members := 0
	err := eachMember(data, func(name string, start, end int) error {
		members++
		return r.top(name, data[start:end], start)
	})
	if err != nil {
		return err
	}
	if r.model == "" {
		r.start = bytes.IndexByte(data, '{') + 1
		r.end, r.absent = r.start, `"`+r.d.writes()+`":%s`
		if members > 0 {
			r.absent += ","
		}
	}
	return nil
}

// top reads a field of the outer object, whose value begins at an offset.
func (r *reader) top(name string, value []byte, at int) error {
	folded := fold(name)
	w := r.d.words[folded]
	primary, other, err := r.d.namesFolded(name, folded, w)
	switch {
	case err != nil:
		return err
	case primary:
		return r.primary(name, value, at)
	}

	container := r.holds(folded, w)
	kind := jsontext.Value(value).Kind()
	switch {
	case container && w.exact != "" && w.exact != name && w.role&isMerged == 0: // every spelling of merged fields is searched
		return otherCase(w.exact)
	case r.d.stands(folded, kind):
		return standsFor(name)
	case !container && !other:
		return r.readEvent(name, folded, value)
	case w.role&isMerged != 0 && kind == '"':
		return unclear("field %q: it is a string, which some gateways parse as an object; write an object, or remove it", quotable(name))
	case bytes.Count(value, []byte{','}) > maxValues:
		return unclear("field %q: it has more than %d values; send fewer", quotable(name), maxValues)
	}
	r.dec = jsontext.NewDecoder(bytes.NewBuffer(value))
	if other {
		return r.further()
	}
	return r.enter(name)
}

// holds reports whether a field may hold further names.
func (r *reader) holds(folded string, w word) bool {
	switch {
	case w.role&isMetadata != 0:
		return mergesMetadata(r.path)
	case r.message:
		return w.role&holdsInMessages != 0 || isFallbacks(folded)
	}
	return w.role&holdsNames != 0 || isFallbacks(folded)
}

// readEvent reads the type of a message on a socket of the Responses API.
func (r *reader) readEvent(name, folded string, value []byte) error {
	if !r.message || folded != "type" || !isResponses(r.path) {
		return nil
	}
	if name != "type" {
		return otherCase("type")
	}
	if value[0] == '"' {
		event, err := unquote(value)
		if err != nil {
			return errNotJSON
		}
		r.event = event
	}
	return nil
}

// enter searches a container.
func (r *reader) enter(name string) error {
	defer func(outer string) { r.into = outer }(r.into)
	r.into = name
	if isFallbacks(fold(name)) {
		return r.fallbacks()
	}
	return r.look()
}

func isFallbacks(name string) bool { return strings.HasSuffix(name, "fallbacks") }

// stands reports whether a field with this folded name selects a model indirectly.
func (d *Dialect) stands(name string, kind jsontext.Kind) bool {
	return d.words[name].role&isIndirect != 0 && kind != 'n' || name == "prompt" && kind == '{' || isFallbacks(name) && kind == '"'
}

func standsFor(name string) error {
	return unclear("field %q: it selects a model that the request does not name; remove it and name the model", quotable(name))
}

// primary reads the name of the requested model.
func (r *reader) primary(name string, value []byte, at int) error {
	if value[0] != '"' {
		return unclear("field %q: it is not a string; write the model's name in quotes", quotable(name))
	}
	model, err := r.text(value)
	if err != nil {
		return err
	}
	if r.model != "" && r.model != model {
		return errTwoModels
	}
	r.model, r.start, r.end = model, at, at+len(value)
	return nil
}

// object searches an object in a container. Any model in it is a further one.
func (r *reader) object() error {
	return r.within('}', func() error {
		token, err := r.dec.ReadToken()
		if err != nil {
			return errNotJSON
		}
		return r.member(token.String())
	})
}

func (r *reader) member(name string) error {
	folded := fold(name)
	primary, other, err := r.d.namesFolded(name, folded, r.d.words[folded])
	switch {
	case err != nil:
		return err
	case primary || other:
		before := len(r.body.others)
		err := r.further()
		r.named = r.named || primary && len(r.body.others) > before && slices.Contains(r.d.messages, r.into)
		return err
	case r.d.stands(folded, r.dec.PeekKind()):
		return standsFor(name)
	case slices.Contains(schemas, name):
		return r.skip()
	case name == "parameters" && r.d.words[fold(r.into)].role&isMerged == 0:
		return r.parameters()
	case isFallbacks(folded), slices.Contains(r.d.containers, name), r.message && slices.Contains(r.d.messages, name):
		return r.enter(name)
	}
	return r.look()
}

// fallbacks reads fallbacks: names, whole requests, or lists of names by the name of
// the model that they replace.
func (r *reader) fallbacks() error {
	switch r.dec.PeekKind() {
	case '"':
		return r.further()
	case '[':
		return r.within(']', r.fallbacks)
	case '{':
		return r.within('}', func() error {
			token, err := r.dec.ReadToken()
			if err != nil {
				return errNotJSON
			}
			if name := token.String(); r.dec.PeekKind() != '[' || r.ofRequest(name) {
				return r.member(name)
			}
			return r.fallbacks()
		})
	}
	return r.skip()
}

// ofRequest reports whether a list with this name is a field of a request instead of
// a list of fallbacks.
func (r *reader) ofRequest(name string) bool {
	return name == "stop" || name == "stop_sequences" || r.d.stands(fold(name), '[') || slices.Contains(schemas, name) || slices.Contains(r.d.containers, name)
}

// parameters reads the parameters of a tool.
func (r *reader) parameters() error {
	if r.dec.PeekKind() != '{' {
		return r.skip()
	}
	return r.within('}', func() error {
		token, err := r.dec.ReadToken()
		if err != nil {
			return errNotJSON
		}
		primary, other, err := r.d.names(token.String())
		switch {
		case err != nil:
			return err
		case (primary || other) && r.dec.PeekKind() != '{':
			return r.further()
		}
		return r.skip()
	})
}

// look searches a value.
func (r *reader) look() error {
	switch r.dec.PeekKind() {
	case '{':
		return r.object()
	case '[':
		return r.within(']', r.look)
	}
	return r.skip()
}

// further reads the names of further models, in a text or in nested texts.
func (r *reader) further() error {
	switch r.dec.PeekKind() {
	case '"':
		raw, err := r.dec.ReadValue()
		if err != nil {
			return errNotJSON
		}
		model, err := r.text(raw)
		if r.body.others = append(r.body.others, model); len(r.body.others) > maxNames {
			return unclear("body: it names more than %d models; name fewer", maxNames)
		}
		return err
	case '[':
		return r.within(']', r.further)
	case '{':
		return r.within('}', func() error {
			if _, err := r.dec.ReadToken(); err != nil {
				return errNotJSON
			}
			return r.further()
		})
	}
	return r.skip() // numbers and booleans name nothing
}

// within reads an object or an array up to its closing bracket.
func (r *reader) within(end jsontext.Kind, read func() error) error {
	if _, err := r.dec.ReadToken(); err != nil {
		return errNotJSON
	}
	for r.dec.PeekKind() != end {
		if err := read(); err != nil {
			return err
		}
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return errNotJSON
	}
	return nil
}

// text reads a text that names a model.
func (r *reader) text(raw []byte) (string, error) {
	model, err := unquote(raw)
	switch {
	case err != nil:
		return "", errNotJSON
	case model == "":
		return "", errEmpty
	}
	return r.d.trim(model), nil
}

func (r *reader) skip() error {
	if r.dec.SkipValue() != nil {
		return errNotJSON
	}
	return nil
}

// quoted returns a text as JSON.
func quoted(s string) string {
	data, err := json.Marshal(s)
	if err != nil {
		panic(err) // texts marshal
	}
	return string(data)
}
