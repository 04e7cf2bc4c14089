package relayapi

import (
	"cmp"
	"net/http"
	"strings"

	"github.com/relayapi/caddy-relayapi/dialect"
	"github.com/relayapi/caddy-relayapi/grant"
	"golang.org/x/net/http/httpguts"
)

// looksInto reports whether the body of a request has to be in memory because
// its token says something of models.
func (p *permit) looksInto(r *http.Request) bool {
	return (p.ModelBound() || p.SetModel != "") && p.provider.dialect.ReadsBody(r.URL.Path)
}

// checkModels holds a request against the models that its token permits, and
// writes the one that the token sets.
func (h *Handler) checkModels(rt *route, r *http.Request) *refusal {
	p := rt.permit
	if !p.ModelBound() && p.SetModel == "" {
		return nil
	}
	if len(r.Header["Content-Type"]) > 1 {
		return refuse(codeInvalidRequest, "there are two Content-Types")
	}

	d := p.provider.dialect
	request := &dialect.Request{Path: r.URL.Path, RawQuery: r.URL.RawQuery, WebSocket: rt.socket, ContentType: r.Header.Get("Content-Type"), Body: rt.body.bytes}
	if p.SetModel != "" {
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
		rt.messages = &messageGuard{permit: p, rt: rt, share: rt.relay.ledger.shareOf(p), named: named.Model != ""}
		delete(r.Header, "Sec-Websocket-Extensions") // compressed messages could not be read
	}
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
