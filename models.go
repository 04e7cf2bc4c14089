package relayapi

import (
	"bytes"
	"cmp"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/relayapi/caddy-relayapi/dialect"
	"github.com/relayapi/caddy-relayapi/grant"
	"golang.org/x/net/http/httpguts"
)

// modelBound reports whether it matters which models a call names: whether its
// token says something of models, and its route takes one.
func (rt *route) modelBound(r *http.Request) bool {
	p := rt.permit
	return (p.ModelBound() || p.SetModel != "") && p.provider.dialect.TakesModel(rt.asked(r))
}

// looksInto reports whether the body of a request has to be in memory, to be
// looked into for its model.
func (rt *route) looksInto(r *http.Request) bool {
	return rt.modelBound(r) && rt.provider.dialect.ReadsBody(r.URL.Path)
}

// asked is the request as its provider's dialect reads it.
func (rt *route) asked(r *http.Request) *dialect.Request {
	return &dialect.Request{
		Method: rt.request.Method, Path: r.URL.Path, RawQuery: r.URL.RawQuery, WebSocket: rt.socket,
		ContentType: r.Header.Get("Content-Type"), Body: rt.body.bytes,
	}
}

// checkModels holds a request against the models that its token permits, and
// writes the one that the token sets. Of a list of models, the answer is held
// against them, see [route.filterModels].
func (h *Handler) checkModels(rt *route, r *http.Request) *refusal {
	p, d := rt.permit, rt.provider.dialect
	request := rt.asked(r)
	rt.lists = (p.ModelBound() || p.SetModel != "") && d.ListsModels(request)
	switch {
	case !rt.modelBound(r):
		return nil
	case len(r.Header["Content-Type"]) > 1:
		return refuse(codeInvalidRequest, "there are two Content-Types; send one")
	}

	delete(r.Header, "X-Portkey-Config") // of the gateway Portkey, in which other models may be named
	if p.SetModel != "" && !rt.lists {
		if err := d.Write(request, p.SetModel); err != nil {
			return unclear(err)
		}
		rewrite(r, request, rt)
	}
	named, err := p.namedBy(request)
	switch {
	case err != nil:
		return unclear(err)
	case named.Model == "" && d.NamedLater(request): // in messages
	case named.Model == "":
		return refuse(string(grant.NoModel), "the request names no model")
	}
	if refused := p.permitNames(append(named.Others, named.Model)...); refused != nil {
		return refused
	}

	if request.WebSocket && d.ReadsMessages() {
		rt.messages = &messageGuard{permit: p, rt: rt, share: rt.relay.ledger.shareOf(p), named: named.Model != "", path: request.Path}
		delete(r.Header, "Sec-Websocket-Extensions") // compressed messages could not be read
	}
	return nil
}

// maxModelList is the longest list of models that is filtered, in bytes.
const maxModelList = 8 << 20

// filterModels keeps of a list of models what the token permits.
func (rt *route) filterModels(res *http.Response) error {
	if !rt.lists || res.StatusCode != http.StatusOK || rt.request.Method == http.MethodHead {
		return nil
	}
	list, err := io.ReadAll(io.LimitReader(res.Body, maxModelList+1))
	res.Body.Close()
	switch {
	case err != nil:
		return refuse(codeProviderUnreachable, "its list of models broke off")
	case len(list) > maxModelList:
		return refuse(codeAnswerWithheld, "its list of models is longer than one that is filtered")
	case res.Header.Get("Content-Encoding") != "":
		return refuse(codeAnswerWithheld, "its list of models is encoded, which was not asked for")
	}

	p := rt.permit
	permits := func(model string) bool { return p.permitNames(model) == nil }
	if list, err = p.provider.dialect.FilterModels(list, permits, p.SetModel); err != nil {
		return refuse(codeAnswerWithheld, "its list of models: "+err.Error())
	}
	res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(list)), int64(len(list))
	res.Header.Set("Content-Length", strconv.Itoa(len(list)))
	res.Header.Del("Etag")
	return nil
}

// namedBy finds the models that a request names. With the path of the provider's
// base URL before it, the path may be one that names a model.
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

// permitNames refuses models that the token does not permit. The empty name is
// none.
func (p *permit) permitNames(names ...string) *refusal {
	for _, name := range names {
		if name == "" {
			continue
		}
		if err := p.PermitModels(name); err != nil {
			return denied(err)
		}
		if !p.ModelBound() && p.SetModel != "" && name != p.SetModel {
			return refuse(string(grant.NoModel), "the token sets the model, and the request names a further one")
		}
	}
	return nil
}

// unclear turns an error of the dialect into a refusal.
func unclear(err error) *refusal { return refuse(codeInvalidRequest, "model: "+err.Error()) }

// asksForWebSocket reports whether a request asks for a WebSocket, over whichever
// version of HTTP.
func asksForWebSocket(r *http.Request) bool {
	return method(r) == http.MethodGet && (r.Method == http.MethodConnect ||
		strings.EqualFold(r.Header.Get("Upgrade"), "websocket") && r.Header.Get("Sec-Websocket-Key") != "" &&
			httpguts.HeaderValuesContainsToken(r.Header["Connection"], "upgrade"))
}

// rewrite changes a request to what the dialect has written.
func rewrite(r *http.Request, to *dialect.Request, rt *route) {
	if r.URL.Path != to.Path {
		r.URL.Path, r.URL.RawPath = to.Path, ""
	}
	r.URL.RawQuery = to.RawQuery
	r.RequestURI = r.URL.RequestURI()
	if rt.body.bytes != nil {
		rt.replaceBody(r, to.Body)
	}
}
