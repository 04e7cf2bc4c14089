package relayapi

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/relayapi/caddy-relayapi/grant"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// Handler admits a request that carries a relay token and hands it to the next
// handler, which is a `reverse_proxy` with the `relayapi` upstreams and
// transport. Without those it must not be used: the request has no credential
// until the transport adds it.
//
// The token may stand wherever an API key does: `Authorization: Bearer`,
// `X-API-Token`, `x-api-key`, `x-goog-api-key`, `api-key`, any header or query
// parameter from which a configured provider reads credentials, the query
// parameters `key` and `token`, HTTP Basic, and the WebSocket subprotocol
// `openai-insecure-api-key.<token>`. All of these headers are taken out, the
// subprotocols with a key, and of the query what is a token or stands where the
// provider reads its key. Whatever else holds a piece of a token goes no further.
type Handler struct {
	// The path that comes before the provider's name, e.g. `/api` for
	// `/api/openai/v1/chat/completions`. It is stripped, and the provider must
	// be that of the token. Without a prefix the token alone decides, and the
	// path passes as it is.
	Prefix string `json:"prefix,omitempty"`

	// Leave requests that carry their token outside `Authorization` in Caddy's
	// access log, which would show it. Set this only where that log has a
	// filter. Otherwise the relay logs a line of its own for them.
	LogRequests bool `json:"log_requests,omitempty"`

	app      *App
	logger   *zap.Logger
	access   *zap.Logger
	carriers *carriers
	clients  bool // are counted by their addresses
	warning  *proxyWarning
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.relayapi",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision finds the relay that the handler belongs to.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	h.access = h.logger.Named("access")
	if h.Prefix != "" && (grant.CheckPath(h.Prefix) != nil || strings.HasSuffix(h.Prefix, "/") || strings.Contains(h.Prefix, "*")) {
		return fmt.Errorf("prefix %q must be a path such as /api", h.Prefix)
	}
	app, err := ctx.App("relayapi")
	if err != nil {
		return err
	}
	h.app = app.(*App)
	h.carriers = newCarriers(h.app.Providers)
	h.clients = slices.ContainsFunc(h.app.RateLimits, func(l RateLimit) bool { return l.Scope == "client" })
	h.warning = new(proxyWarning)
	return nil
}

// ServeHTTP admits, passes on and settles one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	start := time.Now()
	rt := new(route)
	found := h.carriers.take(r)
	rt.known = found.known
	if h.hideFromLog(r, found.bare) {
		defer h.logRequest(r, rt, start)
	}
	if found.linked {
		sandbox(w.Header())
	}
	if preflight(w, r) {
		return nil
	}
	if rt.socket = asksForWebSocket(r); !rt.socket {
		stripUpgrade(r.Header)
	}
	if r.TLS != nil && !r.TLS.HandshakeComplete {
		// Early data can be replayed by whoever is on the way (RFC 8470), and
		// every replay would be a call.
		return h.refuse(w, r, rt, refuse(codeTooEarly, "the request came as TLS early data"))
	}
	err := h.serve(w, r, next, found, rt, start)
	if err == nil && r.ProtoMajor == 1 && rt.answered && !rt.socket && w.Header()["Content-Length"] != nil {
		// The answer is whole, and accounted for. The server would keep the last of it
		// back until all other handlers are done and it has written its logs.
		_ = http.NewResponseController(w).Flush()
	}
	return err
}

// serve is what becomes of a request that may have a token.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, found found, rt *route, start time.Time) error {
	relay := h.app.running(r.Context())
	if relay == nil || !relay.ledger.hold() {
		return h.refuse(w, r, rt, refuse(codeNotReady, "the relay has not started or is shutting down"))
	}
	defer relay.ledger.release()

	defer relay.ledger.letGo(rt)
	if refused := h.admit(w, r, relay, found, rt, start); refused != nil {
		return h.refuse(w, r, rt, refused)
	}
	rt.announce(w.Header())
	// Deferred, because reverse_proxy panics when a stream breaks.
	defer h.settle(rt, relay, r, start)

	err := next.ServeHTTP(w, r.WithContext(rt))
	return h.conclude(w, r, rt, err)
}

// admit admits a request, or refuses it. What it takes for it is to be let go
// either way.
func (h *Handler) admit(w http.ResponseWriter, r *http.Request, relay *relay, found found, rt *route, start time.Time) *refusal {
	if refused := relay.pass(r, h.app.RateLimits, start); refused != nil {
		return refused
	}
	permit, refused := h.permit(r, relay, found, rt, start)
	if refused != nil {
		return refused
	}
	// The slot comes first: to hold a body is part of a call.
	if refused := relay.ledger.paces.enter(permit, rt, start); refused != nil {
		return refused
	}
	if refused := h.permitModels(w, r, relay, permit, rt); refused != nil {
		return refused
	}
	now := time.Now() // to read the body may have taken long
	if refused := rt.decide(r, permit, found, now); refused != nil {
		return refused
	}
	// Registered before it is charged: a revocation that comes after the charge
	// finds the call, and one that comes before refuses it.
	relay.ledger.live.add(r.Context(), rt)
	return h.charge(rt, relay, permit, now)
}

// permit decides whether the token permits the request, and fills in its route.
func (h *Handler) permit(r *http.Request, relay *relay, found found, rt *route, now time.Time) (*permit, *refusal) {
	switch {
	case found.refused != nil:
		return nil, found.refused
	case found.lone && rt.socket:
		return nil, refuse(codeInvalidRequest, "the token is the only WebSocket subprotocol that is offered: offer the provider's too, such as realtime, which can be chosen")
	}
	if m := method(r); m == http.MethodConnect || m == http.MethodTrace {
		// What follows a CONNECT is not framed and would be requests of its own;
		// an answer to TRACE quotes the request, with the key.
		return nil, refuse(string(grant.NoMethod), m+" is never passed on")
	}
	permit, err := relay.tokens.open(r.Context(), found.token)
	if err != nil {
		return nil, denied(err)
	}
	rt.grant, rt.token, rt.provider = permit.Grant, permit.token, permit.provider
	if h.clients || permit.AddressBound() {
		h.warning.of(r, h.logger)
	}

	named, err := h.stripPrefix(r)
	if err != nil {
		return nil, refuse(string(grant.NoPath), err.Error())
	}
	path, err := grant.PolicyPath(r.URL)
	if err != nil {
		return nil, refuse(codeInvalidRequest, err.Error())
	}
	request := grant.Request{
		Now: now, Method: method(r), Path: path, WebSocket: rt.socket, Provider: named,
		ClientIP: clientAddr(r), Origin: r.Header.Get("Origin"),
	}
	if err := permit.Permit(request); err != nil {
		return nil, denied(err)
	}
	rt.request = request
	return permit, nil
}

// decide holds the request against the grant as it is going to be sent, and
// decides what is sent where.
func (rt *route) decide(r *http.Request, permit *permit, found found, now time.Time) *refusal {
	path, err := grant.PolicyPath(r.URL)
	if err != nil {
		return refuse(codeInvalidRequest, err.Error())
	}
	err = permit.ValidAt(now)
	if err == nil && path != rt.request.Path { // the model that the token sets stands in it
		rt.request.Now, rt.request.Path = now, path
		err = permit.Permit(rt.request)
	}
	if err != nil {
		return denied(err)
	}
	if refused := rt.pace.take(permit, rt, now); refused != nil {
		return refused
	}
	if err := cutQuery(r, func(name, _ string) bool { return permit.provider.readsInQuery(name) }); err != nil {
		return refuse(codeInvalidRequest, err.Error())
	}
	rt.method, rt.path, rt.rawPath = rt.request.Method, r.URL.Path, r.URL.RawPath
	rt.protocol = found.protocol
	if rt.secret = permit.carried; rt.secret == nil {
		rt.secret = permit.provider.keys.pick(now)
	}
	return nil
}

// method is the method that the provider will see: over HTTP/2 and HTTP/3 a
// WebSocket comes as an extended CONNECT (RFC 8441, RFC 9220), of which
// reverse_proxy makes a GET.
func method(r *http.Request) string {
	if r.Method == http.MethodConnect && (r.Header.Get(":protocol") == "websocket" || r.Proto == "websocket") {
		return http.MethodGet
	}
	return r.Method
}

// denied turns an error of the token cache or the grant into a refusal.
func denied(err error) *refusal {
	var d *grant.Denial
	if errors.As(err, &d) {
		return refuse(string(d.Reason), d.Rule)
	}
	return refuse(codeNotReady, err.Error()) // the client is gone, or we are
}

// stripPrefix removes the prefix and the provider's name from the request's
// path and returns the name.
func (h *Handler) stripPrefix(r *http.Request) (string, error) {
	if h.Prefix == "" {
		return "", nil
	}
	name, path, ok := cutProvider(r.URL.Path, h.Prefix)
	if !ok {
		return "", fmt.Errorf("the path is not of the form %s/<provider>/<path>", h.Prefix)
	}
	if r.URL.RawPath != "" {
		rawName, rawPath, ok := cutProvider(r.URL.RawPath, h.Prefix)
		if !ok || rawName != name {
			return "", errors.New("the prefix or the provider is escaped in the path")
		}
		r.URL.RawPath = rawPath
	}
	r.URL.Path = path
	return name, nil
}

// cutProvider splits "/api/openai/v1/x" into "openai" and "/v1/x".
func cutProvider(path, prefix string) (name, rest string, ok bool) {
	rest, ok = strings.CutPrefix(path, prefix+"/")
	name, rest, slash := strings.Cut(rest, "/")
	return name, "/" + rest, ok && slash && name != ""
}

// conclude turns an error of the next handler into an answer, where none was
// passed on. It returns none to Caddy, which would log the request with it.
func (h *Handler) conclude(w http.ResponseWriter, r *http.Request, rt *route, err error) error {
	if err == nil {
		return nil
	}
	var refused *refusal
	var handlerErr caddyhttp.HandlerError
	var netErr net.Error
	switch {
	case errors.As(err, &refused):
	case rt.clientBroke.Load():
		refused = refuse(codeInvalidRequest, "the request's body broke off")
		if statusOf(err, http.StatusRequestEntityTooLarge) {
			refused = refuse(codeTooLarge, "the request's body is longer than the site takes")
		}
	case rt.status.Load() != 0: // the provider did answer: one of the operator's response routes failed
		h.logger.Error("handling the provider's answer", append(h.fields(r, rt), zap.Error(err))...)
		if errors.As(err, &handlerErr) {
			w.WriteHeader(handlerErr.StatusCode)
		}
		return nil
	case errors.As(err, &handlerErr) && handlerErr.StatusCode == 499:
		w.WriteHeader(handlerErr.StatusCode) // the client is gone
		return nil
	case errors.As(err, &netErr) && netErr.Timeout():
		refused = refuse(codeProviderTimeout, rt.secret.mask(err.Error()))
	default:
		refused = refuse(codeProviderUnreachable, rt.secret.mask(err.Error()))
	}
	return h.refuse(w, r, rt, refused)
}

// statusOf reports whether a handler error with a status is anywhere in err.
func statusOf(err error, status int) bool {
	for err != nil {
		if handlerErr, ok := err.(caddyhttp.HandlerError); ok && handlerErr.StatusCode == status {
			return true
		}
		err = errors.Unwrap(err)
	}
	return false
}

// refuse answers a request with a refusal and logs it.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, rt *route, f *refusal) error {
	f = f.hiding(rt.known...).inForm(h.likelyProvider(r, rt))
	f.log(h.logger, h.fields(r, rt)...)
	rt.status.Store(int32(answers[f.code].status))
	rt.announce(w.Header())
	if r.ProtoMajor == 1 && r.Header.Get("Expect") != "" {
		// The client waits with its body for a word that does not come; the
		// server would wait for the body.
		w.Header().Set("Connection", "close")
	}
	f.write(w)
	return nil
}

// announce writes the relay's own headers.
func (rt *route) announce(header http.Header) {
	rt.headers.allowAnyOrigin(header)
	rt.rateLimit.set(header, &rt.headers)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
