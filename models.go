package relayapi

import (
	"bytes"
	"cmp"
	"io"
	"net/http"
	"strconv"

	"github.com/relayapi/caddy-relayapi/dialect"
	"github.com/relayapi/caddy-relayapi/grant"
	"github.com/relayapi/caddy-relayapi/internal/ws"
)

// namesModels reports whether the token restricts or sets the model.
func (p *permit) namesModels() bool { return p.ModelBound() || p.SetModel != "" }

// modelBound reports whether the relay must check the models of a call: its token
// permits only some, and its route takes one.
func (c *call) modelBound(r *http.Request) bool {
	return c.permit.namesModels() && c.permit.provider.dialect.TakesModel(c.asked(r))
}

// looksInto reports whether the relay must buffer a request's body to find its model or
// its cost.
func (c *call) looksInto(r *http.Request) bool {
	return c.spending.limited() || c.modelBound(r) && c.permit.provider.dialect.ReadsBody(r.URL.Path)
}

// asked returns the request in the form that the provider's dialect reads. The next
// call of asked overwrites it.
func (c *call) asked(r *http.Request) *dialect.Request {
	c.target.request = dialect.Request{
		Method: c.target.asked.Method, Path: r.URL.Path, RawQuery: r.URL.RawQuery, WebSocket: c.target.socket,
		ContentType: r.Header.Get("Content-Type"),
	}
	if c.held.body != nil {
		c.target.request.Body = c.held.body.Bytes()
	}
	return &c.target.request
}

// checkModels checks the models that a request names, and writes the model that the
// token sets. If the request asks for a list of models, [call.filterModels] filters the
// answer.
func (h *Handler) checkModels(c *call, r *http.Request) *refusal {
	p, d := c.permit, c.permit.provider.dialect
	request := c.asked(r)
	c.target.lists = p.namesModels() && d.ListsModels(request)
	switch {
	case !c.modelBound(r):
		return nil
	case len(r.Header["Content-Type"]) > 1:
		return refuse(codeInvalidRequest, "there are two Content-Types; send one")
	}

	delete(r.Header, "X-Portkey-Config") // for the gateway Portkey; it may name other models
	if p.SetModel != "" && !c.target.lists {
		if err := d.Write(request, p.SetModel); err != nil {
			return unclear(err)
		}
		c.rewrite(r, request)
	}

	named, err := p.namedBy(request)
	switch {
	case err != nil:
		return unclear(err)
	case named.Model == "" && d.NamedLater(request): // in messages
		c.target.unnamed = true
	case named.Model == "":
		return refuse(string(grant.NoModel), "the request names no model")
	}
	c.outcome.named(named.Model)
	if refused := p.permitNames(append(named.Others, named.Model)...); refused != nil {
		return refused
	}

	if request.WebSocket && d.ReadsMessages() {
		c.guardMessages(r, c.checkMessageModels(request.Path))
	}
	return nil
}

// guardMessages buffers each message of the client until it is complete and has passed
// a check.
func (c *call) guardMessages(r *http.Request, check func(message []byte) ([]byte, error)) {
	if before := c.held.check; before != nil {
		next := check
		check = func(message []byte) ([]byte, error) {
			if _, err := before(message); err != nil {
				return nil, err
			}
			return next(message)
		}
	}
	c.held.check = check
	c.held.messages = ws.NewGuard(check, c.relay.ledger.shareOf(c.permit))
	delete(r.Header, "Sec-Websocket-Extensions") // compressed messages could not be read
}

// checkMessageModels returns a check of the client's messages on a WebSocket. It
// refuses unpermitted models, and all messages before one that names a model.
func (c *call) checkMessageModels(path string) func(message []byte) ([]byte, error) {
	named := !c.target.unnamed
	return func(message []byte) ([]byte, error) {
		models, names, err := c.permit.provider.dialect.ReadMessageOn(path, message)
		switch named = named || names; {
		case err != nil:
			return nil, unclear(err)
		case !named:
			return nil, refuse(string(grant.NoModel), "neither the handshake nor the first message names a model")
		}
		if refused := c.permit.permitNames(models...); refused != nil {
			return nil, refused
		}
		return nil, nil
	}
}

// maxModelList is the longest list of models that the relay filters, in bytes.
const maxModelList = 8 << 20

// filterModels removes the models that the token does not permit from a list.
func (c *call) filterModels(res *http.Response) error {
	if !c.target.lists || res.StatusCode != http.StatusOK || c.target.method == http.MethodHead {
		return nil
	}

	list, err := io.ReadAll(io.LimitReader(res.Body, maxModelList+1))
	res.Body.Close()
	switch {
	case err != nil:
		return refuse(codeProviderUnreachable, "its list of models was cut short")
	case len(list) > maxModelList:
		return refuse(codeAnswerWithheld, "its list of models is too long to be filtered")
	case res.Header.Get("Content-Encoding") != "":
		return refuse(codeAnswerWithheld, "its list of models has a coding that was not requested")
	}

	p := c.permit
	permits := func(model string) bool { return p.permitNames(model) == nil }
	if list, err = p.provider.dialect.FilterModels(list, permits, p.SetModel); err != nil {
		return refuse(codeAnswerWithheld, "its list of models: "+err.Error())
	}
	res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(list)), int64(len(list))
	res.Header.Set("Content-Length", strconv.Itoa(len(list)))
	res.Header.Del("Etag")
	return nil
}

// namedBy finds the models that a request names. The path may name one only together
// with the path of the provider's base URL.
func (p *permit) namedBy(request *dialect.Request) (dialect.Naming, error) {
	d := p.provider.dialect
	named, err := d.Read(request)
	base := p.provider.base.Path
	if base == "" || err != nil {
		return named, err
	}

	whole := *request
	whole.Path = base + request.Path
	more, err := d.Read(&whole)
	named.Model = cmp.Or(named.Model, more.Model)
	named.Others = append(append(named.Others, more.Others...), more.Model)
	return named, err
}

// permitNames refuses models that the token does not permit. It ignores empty names.
func (p *permit) permitNames(names ...string) *refusal {
	for _, name := range names {
		if name == "" {
			continue
		}
		if err := p.PermitModels(name); err != nil {
			return denied(err)
		}
		if !p.ModelBound() && p.SetModel != "" && name != p.SetModel {
			return refuse(string(grant.NoModel), "the token sets the model, and the request names another one")
		}
	}
	return nil
}

// unclear turns an error of the dialect into a refusal.
func unclear(err error) *refusal { return refuse(codeInvalidRequest, "model: "+err.Error()) }

// rewrite applies the dialect's changes to a request.
func (c *call) rewrite(r *http.Request, to *dialect.Request) {
	if r.URL.Path != to.Path {
		r.URL.Path, r.URL.RawPath = to.Path, ""
	}
	r.URL.RawQuery = to.RawQuery
	r.RequestURI = r.URL.RequestURI()

	body := c.held.body
	if body != nil && !bytes.Equal(body.Bytes(), to.Body) {
		c.replaceBody(r, body.With(to.Body))
	}
}
