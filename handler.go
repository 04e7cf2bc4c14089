package relayapi

import (
	"context"
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
	endpoint bool // it stands for an endpoint of the relay's own, not for a provider
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
	rt := &route{start: time.Now()}
	rt.watchBody(w, r)
	if preflight(w, r) {
		if h.hideFromLog(r, showsToken(r)) {
			h.logRequest(r, rt)
		}
		return nil
	}

	refused := h.hold(rt, r)
	if rt.relay != nil {
		defer rt.relay.ledger.release()
		refused = h.limitRate(rt, r)
	}
	rt.found = found{bare: true} // nobody has looked: it may show a token
	if refused == nil {
		rt.found = h.carriers.take(r)
	}
	if h.hideFromLog(r, rt.found.bare) {
		defer h.logRequest(r, rt)
	}
	if refused != nil {
		return h.refuse(r, rt, refused)
	}
	err := h.serve(rt, r, next)
	if err == nil && r.ProtoMajor == 1 && rt.answered && !rt.socket && w.Header()["Content-Length"] != nil {
		// The answer is whole, and accounted for. The server would keep the last of it
		// back until all other handlers are done and it has written its logs.
		_ = http.NewResponseController(w).Flush()
	}
	return err
}

// serve takes a request through the steps of its admission, and on to its
// provider.
func (h *Handler) serve(rt *route, r *http.Request, next caddyhttp.Handler) error {
	defer rt.relay.ledger.letGo(rt)
	for _, step := range [...]func(*Handler, *route, *http.Request) *refusal{
		(*Handler).checkProtocol,
		(*Handler).openToken,
		(*Handler).checkRequest,
		(*Handler).takeSlot, // to wait for a body is part of a call
		(*Handler).readBody,
		(*Handler).checkModels,
		(*Handler).countRate,
		(*Handler).decideTarget,
		(*Handler).charge,
	} {
		if refused := step(h, rt, r); refused != nil {
			return h.refuse(r, rt, refused)
		}
	}

	rt.announce(rt.writer.Header())
	// Deferred, because reverse_proxy panics when a stream breaks.
	defer h.settle(rt, r)
	return h.conclude(r, rt, next.ServeHTTP(rt.writer, r.WithContext(rt)))
}

// hold holds the relay's store for a request, or refuses it.
func (h *Handler) hold(rt *route, r *http.Request) *refusal {
	relay := h.app.running(r.Context())
	if relay == nil || !relay.ledger.hold() {
		return refuse(codeNotReady, "the relay has not started or is shutting down")
	}
	rt.relay = relay
	return nil
}

// limitRate counts a request against the operator's rate limits. It is the first
// step, because the others cost more.
func (h *Handler) limitRate(rt *route, r *http.Request) *refusal {
	return rt.relay.pass(r, h.app.RateLimits, rt.start)
}

// checkProtocol refuses what is more than a request, or less.
func (h *Handler) checkProtocol(rt *route, r *http.Request) *refusal {
	if rt.found.linked {
		sandbox(rt.writer.Header())
	}
	if rt.socket = asksForWebSocket(r); !rt.socket {
		stripUpgrade(r.Header)
	}

	switch m := method(r); {
	case r.TLS != nil && !r.TLS.HandshakeComplete:
		// Early data can be replayed by whoever is on the way (RFC 8470), and
		// every replay would be a call.
		return refuse(codeTooEarly, "the request came as TLS early data")
	case m == http.MethodConnect || m == http.MethodTrace:
		// What follows a CONNECT is not framed and would be requests of its own;
		// an answer to TRACE quotes the request, with the key.
		return refuse(string(grant.NoMethod), m+" is never passed on")
	case rt.socket && r.ProtoMajor == 1 && !bodiless(r):
		// Nobody would look at it, and the provider may take it for messages.
		return refuse(codeInvalidRequest, "the handshake of a WebSocket has a body; send it without one")
	}
	return nil
}

// openToken opens the token that was found.
func (h *Handler) openToken(rt *route, r *http.Request) *refusal {
	switch found := rt.found; {
	case found.refused != nil:
		return found.refused
	case found.lone && rt.socket:
		return refuse(codeInvalidRequest, "the token is the only WebSocket subprotocol that is offered: offer the provider's too, such as realtime, which can be chosen")
	}

	permit, err := rt.relay.tokens.open(r.Context(), clientOf(r), rt.found.token)
	if err != nil {
		return denied(err)
	}
	rt.permit = permit
	rt.grant, rt.token, rt.provider = permit.Grant, permit.token, permit.provider
	if h.clients || permit.AddressBound() {
		h.warning.of(r, h.logger)
	}
	return nil
}

// checkRequest strips the prefix and decides whether the token permits the
// request, as far as that shows without its body.
func (h *Handler) checkRequest(rt *route, r *http.Request) *refusal {
	named, err := h.stripPrefix(r)
	if err != nil {
		return refuse(string(grant.NoPath), err.Error())
	}
	path, err := grant.PolicyPath(r.URL)
	if err != nil {
		return refuse(codeInvalidRequest, err.Error())
	}
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	rt.prefix, rt.host, rt.secure = h.Prefix, r.Host, clientIsSecure(r, trusted)

	rt.request = grant.Request{
		Now: rt.start, Method: method(r), Path: path, WebSocket: rt.socket, Provider: named,
		ClientIP: clientAddr(r), Origin: r.Header.Get("Origin"),
	}
	if err := rt.permit.Permit(rt.request); err != nil {
		return denied(err)
	}
	return nil
}

// takeSlot takes one of the slots of limits.concurrency, and registers the call:
// from here on it ends with its token.
func (h *Handler) takeSlot(rt *route, r *http.Request) *refusal {
	if refused := rt.relay.ledger.paces.enter(rt); refused != nil {
		return refused
	}
	rt.relay.ledger.live.add(r.Context(), rt)
	return nil
}

// readBody reads the body that has to be there before the call is counted: one
// that is short, or whose model is looked into. Any other body streams.
func (h *Handler) readBody(rt *route, r *http.Request) *refusal {
	switch {
	case bodiless(r), rt.socket: // over HTTP/2, the body of a WebSocket's handshake is its messages
		return nil
	case rt.looksInto(r):
		return rt.holdBody(r, rt.relay.ledger.shareOf(rt.permit))
	case short(r):
		return rt.holdShortBody(r)
	}
	rt.stopInterrupt = context.AfterFunc(rt, func() { _ = rt.client.interrupt() })
	return nil
}

// countRate counts the call against its token's rate. Reading the body may have
// taken long, so the token is asked again.
func (h *Handler) countRate(rt *route, r *http.Request) *refusal {
	path, err := grant.PolicyPath(r.URL)
	if err != nil {
		return refuse(codeInvalidRequest, err.Error())
	}
	now := time.Now()
	err = rt.permit.ValidAt(now)
	if err == nil && path != rt.request.Path { // the model that the token sets is in the path
		rt.request.Now, rt.request.Path = now, path
		err = rt.permit.Permit(rt.request)
	}
	if err != nil {
		return denied(err)
	}

	rt.countedAt = now
	return rt.pace.take(rt, now)
}

// decideTarget decides what is sent where, with which key.
func (h *Handler) decideTarget(rt *route, r *http.Request) *refusal {
	if err := cutQuery(r, func(name, _ string) bool { return rt.provider.readsInQuery(name) }); err != nil {
		return refuse(codeInvalidRequest, err.Error())
	}
	rt.method, rt.path, rt.rawPath = rt.request.Method, r.URL.Path, r.URL.RawPath
	rt.protocol = rt.found.protocol
	if rt.secret = rt.permit.carried; rt.secret == nil {
		rt.secret = rt.provider.keys.Pick(rt.countedAt)
	}
	return nil
}

// stillPermitted asks again, right before the call is written, whatever depends
// on time or on the operator. A revocation ends the call's context, which is
// asked as well.
func (rt *route) stillPermitted(now time.Time) *refusal {
	if err := rt.permit.ValidAt(now); err != nil {
		return denied(err)
	}
	if !rt.windowEnds.IsZero() && !now.Before(rt.windowEnds) {
		return refuse(codeBusy, "the call waited for a connection until the day was over on which it is counted")
	}
	return rt.pace.retake(rt, now)
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
func (h *Handler) conclude(r *http.Request, rt *route, err error) error {
	if err == nil {
		return nil
	}
	var refused *refusal
	var handlerErr caddyhttp.HandlerError
	var netErr net.Error
	switch {
	case errors.As(err, &refused):
	case rt.client.broke.Load():
		refused = refuse(codeInvalidRequest, "the request's body broke off")
		if statusOf(err, http.StatusRequestEntityTooLarge) {
			refused = refuse(codeTooLarge, "the request's body is longer than the site takes")
		}
	case rt.status.Load() != 0: // the provider did answer: one of the operator's response routes failed
		h.logger.Error("handling the provider's answer", append(h.fields(r, rt), zap.Error(err))...)
		if errors.As(err, &handlerErr) {
			rt.writer.WriteHeader(handlerErr.StatusCode)
		}
		return nil
	case errors.As(err, &handlerErr) && handlerErr.StatusCode == 499:
		rt.writer.WriteHeader(handlerErr.StatusCode) // the client is gone
		return nil
	case errors.As(err, &netErr) && netErr.Timeout():
		refused = refuse(codeProviderTimeout, rt.secret.Mask(err.Error()))
	default:
		refused = refuse(codeProviderUnreachable, rt.secret.Mask(err.Error()))
	}
	return h.refuse(r, rt, refused)
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
func (h *Handler) refuse(r *http.Request, rt *route, f *refusal) error {
	f = f.hiding(rt.found.known...).inForm(h.likelyProvider(r, rt))
	f.log(h.logger, h.fields(r, rt)...)
	rt.status.Store(int32(answers[f.code].status))
	rt.announce(rt.writer.Header())
	rt.drain(r)
	rt.keepConnection()
	f.write(rt.writer)
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
