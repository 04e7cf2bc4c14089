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
	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/relayapi/caddy-relayapi/internal/bodies"
	"github.com/relayapi/caddy-relayapi/internal/carrier"
	"github.com/relayapi/caddy-relayapi/internal/clientaddr"
	"github.com/relayapi/caddy-relayapi/internal/cors"
	"github.com/relayapi/caddy-relayapi/internal/headers"
	"github.com/relayapi/caddy-relayapi/internal/limits"
	"github.com/relayapi/caddy-relayapi/internal/prefix"
	"github.com/relayapi/caddy-relayapi/internal/redact"
	"github.com/relayapi/caddy-relayapi/tokenstore"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// Handler admits a request that carries a relay token and hands it to the next
// handler, which must be a `reverse_proxy` with the `relayapi` upstreams and
// transport. Only that transport adds the real key.
//
// The token may be wherever an API key is: `Authorization: Bearer`, `X-API-Token`,
// `x-api-key`, `x-goog-api-key`, `api-key`, any header or query parameter from which a
// configured provider reads credentials, the query parameters `key` and `token`, HTTP
// Basic, and the WebSocket subprotocol `openai-insecure-api-key.<token>`. The handler
// removes all of these headers and subprotocols. From the query it removes tokens and
// parameters from which the provider reads a key. It refuses or removes every other
// part of the request that holds a piece of a token.
type Handler struct {
	// The path before the provider's name, e.g. `/api` for
	// `/api/openai/v1/chat/completions`. The handler strips both, and the provider must
	// be the token's. Default: none; the token alone names the provider, and the path
	// is passed on unchanged.
	Prefix string `json:"prefix,omitempty"`

	// Keep requests that carry their token outside `Authorization` in Caddy's
	// access log, which shows the token. Set this only if that log has a filter.
	// Default: false; the relay logs a line of its own for such requests.
	LogRequests bool `json:"log_requests,omitempty"`

	// What to do with a call to an AI provider when the client leaves before the end
	// of the answer: `drain` reads the rest for up to 10 seconds, so that the usage is
	// known, and `cancel` ends the call. A call under a budget whose usage stays
	// unknown is charged as reserved. Default: drain.
	OnDisconnect string `json:"on_disconnect,omitempty"`

	app      *App
	logger   *zap.Logger
	access   *zap.Logger
	carriers *carrier.Places
	clients  bool // the limiters count clients by address
	warning  *clientaddr.ProxyWarning
	endpoint bool // the handler serves an endpoint of the relay's own
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
	app, err := ctx.App("relayapi")
	if err != nil {
		return fmt.Errorf("getting relayapi app: %w", err)
	}
	h.app = app.(*App)
	h.logger = ctx.Logger()
	h.access = h.logger.Named("access")
	h.carriers = h.app.carriers()
	h.clients = slices.ContainsFunc(h.app.RateLimits, func(l RateLimit) bool { return l.Scope == "client" })
	h.warning = new(clientaddr.ProxyWarning)
	return nil
}

// onDisconnect lists the values of on_disconnect.
var onDisconnect = []string{"drain", "cancel"}

// Validate checks the prefix, and what to do when the client leaves.
func (h *Handler) Validate() error {
	p := h.Prefix
	if p != "" && (grant.CheckPath(p) != nil || strings.HasSuffix(p, "/") || strings.Contains(p, "*")) {
		return fmt.Errorf("prefix %q: must be a path such as /api", p)
	}
	if !slices.Contains(onDisconnect, h.OnDisconnect) && h.OnDisconnect != "" {
		return fmt.Errorf("on_disconnect %q: must be one of %s", h.OnDisconnect, strings.Join(onDisconnect, ", "))
	}
	return nil
}

// admission has the steps that a request takes before it goes to its provider. Cheap
// steps come first. Nothing is counted before a short body has arrived.
var admission = []func(*Handler, *call, *http.Request) *refusal{
	(*Handler).holdStore,     // the store stays open
	(*Handler).limitRate,     // the operator's rate limits
	(*Handler).findToken,     // empties every place that could hold a token
	(*Handler).checkProtocol, // no TLS early data, CONNECT and the like
	(*Handler).openToken,     // token → permit
	(*Handler).checkRequest,  // prefix, path, method, address, origin
	(*Handler).takeSlot,      // limits.concurrency; from here on the call ends with its token
	(*Handler).findBudgets,   // limits.tokens, limits.usd
	(*Handler).readBody,      // buffers a short body, or one to search for the model
	(*Handler).checkModels,   // the models that the request names
	(*Handler).countRate,     // limits.rpm
	(*Handler).decideTarget,  // method, path and key of the request to send
	(*Handler).bound,         // the most that the call can cost, if it has a budget
	(*Handler).charge,        // durable
	(*Handler).outlive,       // the relay reads the usage to its end, even if the client leaves
}

// ServeHTTP admits a request, passes it on and settles it. It returns no error to
// Caddy, which would log the request with it.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	c := newCall(w, r)
	defer h.finish(c, r)
	c.trace.Begin(c, r)

	if preflight(c, r) || h.probe(c, r) {
		c.found.Bare = redact.Shows(r)
		return nil
	}
	for _, step := range admission {
		if refused := step(h, c, r); refused != nil {
			stats.Refused(c.stats)
			return h.refuse(c, r, refused)
		}
	}

	stats.Admitted(time.Since(c.target.countedAt))
	c.trace.Admitted()
	c.announce(w.Header())
	defer h.settle(c, r) // deferred, because reverse_proxy panics when a stream breaks
	return h.conclude(c, r, next.ServeHTTP(w, r.WithContext(c)))
}

// finish releases the call, and logs the request if Caddy must not.
func (h *Handler) finish(c *call, r *http.Request) {
	c.trace.End()
	if c.relay != nil {
		defer c.relay.ledger.release()
		c.release() // before the log, which may be slow, so that the client can make its next call
	}
	if h.hideFromLog(r, c.found.Bare) {
		h.logRequest(c, r)
	}
}

// holdStore keeps the relay's store open for the request.
func (h *Handler) holdStore(c *call, _ *http.Request) *refusal {
	relay := h.app.running(c)
	if relay == nil || !relay.ledger.hold() {
		return refuse(codeNotReady, "the relay has not started or is shutting down")
	}
	c.relay = relay
	return nil
}

// limitRate counts the request against the operator's rate limits. It comes before
// all steps that cost more.
func (h *Handler) limitRate(c *call, r *http.Request) *refusal {
	return c.relay.pass(r, h.app.RateLimits, c.start)
}

// findToken takes the token out of the request.
func (h *Handler) findToken(c *call, r *http.Request) *refusal {
	c.found = h.carriers.Take(r)
	return nil // openToken refuses later, after checkProtocol
}

// checkProtocol refuses requests that no token makes safe to forward.
func (h *Handler) checkProtocol(c *call, r *http.Request) *refusal {
	if c.found.Linked {
		cors.Sandbox(c.writer.Header())
	}
	if c.target.socket = headers.AsksForWebSocket(r); !c.target.socket {
		headers.StripUpgrade(r.Header)
	}

	switch m := headers.Method(r); {
	case r.TLS != nil && !r.TLS.HandshakeComplete:
		// Anyone on the path can replay early data (RFC 8470). Each replay would be a
		// call.
		return refuse(codeTooEarly, "the request came as TLS early data")
	case m == http.MethodConnect || m == http.MethodTrace:
		// The bytes after a CONNECT have no framing and could be further requests. An
		// answer to TRACE quotes the request, with the key.
		return refuse(string(grant.NoMethod), m+" is never passed on")
	case c.target.socket && r.ProtoMajor == 1 && !bodies.None(r):
		// The provider may read the body as messages, which the relay has not checked.
		return refuse(codeInvalidRequest, "the handshake of a WebSocket has a body; send it without one")
	}
	return nil
}

// openToken opens the token in the request.
func (h *Handler) openToken(c *call, r *http.Request) *refusal {
	switch {
	case c.found.Problem != "":
		return tokenless(&c.found)
	case c.found.Lone && c.target.socket:
		return refuse(codeInvalidRequest, "the token is the only WebSocket subprotocol offered; also offer the provider's, such as realtime")
	}

	provider := ""
	if h.Prefix != "" {
		provider, _, _ = prefix.Cut(r.URL.Path, h.Prefix)
	}
	permit, err := c.relay.tokens.open(c, clientaddr.Network(r), c.found.Token, provider)
	if err != nil {
		return denied(err)
	}
	c.permit, c.stats = permit, permit.stats
	if h.clients || permit.AddressBound() {
		h.warning.Check(r, h.logger)
	}
	return nil
}

// tokenless returns why a request has no token to use.
func tokenless(f *carrier.Found) *refusal {
	if f.Malformed {
		return refuse(codeInvalidRequest, f.Problem)
	}
	refused := refuse(string(grant.Invalid), f.Problem)
	refused.shown = f.Misshapen
	return refused
}

// checkRequest strips the prefix and checks the request against the token's grant,
// except for its body.
func (h *Handler) checkRequest(c *call, r *http.Request) *refusal {
	named, err := prefix.Strip(r.URL, h.Prefix)
	if err != nil {
		return refuse(string(grant.NoPath), err.Error())
	}
	path, err := grant.PolicyPath(r.URL)
	if err != nil {
		return refuse(codeInvalidRequest, err.Error())
	}

	c.target.address = address{h.Prefix, r.Host, clientaddr.Secure(r)}
	c.target.asked = grant.Request{
		Now: c.start, Method: headers.Method(r), Path: path, WebSocket: c.target.socket, Provider: named,
		ClientIP: clientaddr.Of(r), Origin: r.Header.Get("Origin"),
	}
	if err := c.permit.Permit(c.target.asked); err != nil {
		return denied(err)
	}
	return nil
}

// takeSlot takes a slot of limits.concurrency and registers the call. From here on, the
// call ends with its token.
func (h *Handler) takeSlot(c *call, _ *http.Request) *refusal {
	if refused := c.enter(); refused != nil {
		return refused
	}
	c.relay.ledger.live.add(c)
	return nil
}

// countRate counts the call against its token's rate. It checks the grant again,
// because reading the body may have taken long.
func (h *Handler) countRate(c *call, r *http.Request) *refusal {
	path, err := grant.PolicyPath(r.URL)
	if err != nil {
		return refuse(codeInvalidRequest, err.Error())
	}

	now := time.Now()
	err = c.permit.ValidAt(now)
	if err == nil && path != c.target.asked.Path { // the model that the token sets is in the path
		c.target.asked.Now, c.target.asked.Path = now, path
		err = c.permit.Permit(c.target.asked)
	}
	if err != nil {
		return denied(err)
	}
	return c.countRate(now)
}

// decideTarget sets the method, the path and the key of the request to send.
func (h *Handler) decideTarget(c *call, r *http.Request) *refusal {
	p, t := c.permit.provider, &c.target
	if err := carrier.CutQuery(r, func(name, _ string) bool { return p.readsInQuery(name) }); err != nil {
		return refuse(codeInvalidRequest, err.Error())
	}

	t.method, t.path, t.rawPath = t.asked.Method, r.URL.Path, r.URL.RawPath
	t.protocol = c.found.Protocol
	if t.key = c.permit.carried; t.key == nil {
		var err error
		if t.key, err = p.keys.Pick(c, t.countedAt); err != nil {
			return refuse(codeNoCredential, err.Error())
		}
	}
	return nil
}

// outlive lets the call go on after its client has left, until its usage is known.
func (h *Handler) outlive(c *call, r *http.Request) *refusal {
	metered := c.spending.limited() || c.permit.provider.dialect.Specific(c.asked(r))
	c.waits.Store(h.OnDisconnect != "cancel" && !c.target.socket && metered)
	return nil
}

// uncharged turns an error of the ledger into a refusal.
func uncharged(c *call, err error) *refusal {
	var used *tokenstore.ExhaustedError
	var why *refusal // ended the call while it waited
	switch {
	case errors.As(err, &why):
		return why
	case errors.As(err, &used):
		c.relay.ledger.Refused(used)
		return refuse(exhausted[used.Counter.Unit], limits.Describe(used)).of(string(used.Counter.Scope), string(used.Counter.Unit))
	case errors.Is(err, tokenstore.ErrConflict):
		return refuse(codeConflict, "its identity is known with other claims")
	case errors.Is(err, tokenstore.ErrRevoked):
		return refuse(codeRevoked, "the token is revoked")
	case errors.Is(err, tokenstore.ErrDisabled):
		return refuse(codeDisabled, "the token is disabled")
	case errors.Is(err, tokenstore.ErrPruned):
		return refuse(string(grant.Expired), "the token expired and its record was pruned")
	case errors.Is(err, tokenstore.ErrPredates):
		return refuse(codePredates, fmt.Sprintf("iat %s is before the store was made, %s",
			c.permit.IssuedAt, c.relay.ledger.Birth().UTC().Format(time.RFC3339)))
	case errors.Is(err, context.Canceled):
		return refuse(codeNotReady, err.Error()) // the client is gone
	default:
		return refuse(codeStoreUnavailable, err.Error())
	}
}

// settle refunds what the call reserved and did not use, and records its usage. It
// refunds the whole call if the provider was never reached.
func (h *Handler) settle(c *call, r *http.Request) {
	ledger, out := c.relay.ledger, &c.outcome
	if f := ended(c); f != nil && out.answered {
		f.log(h.logger, h.fields(c, r)...) // otherwise it was the answer, and refuse has logged it
	}
	if out.complaint != "" {
		ledger.keyRefusals.Add(c.permit.holder.Token, adminapi.KeyRefusal{At: time.Now().UTC(), Message: out.complaint})
	}

	charged, bill := c.used()
	if charged.Calls == 0 || c.spending.quote != nil {
		if err := ledger.Settle(c.held.charges, charged); err != nil {
			h.logger.Error("settling a call", zap.String("token_id", c.permit.ID), zap.Error(err))
		}
	}
	used := bill.Usage
	used.BytesIn, used.BytesOut, used.Duration = out.bytesIn.Load(), out.bytesOut.Load(), time.Since(c.start)

	switch status := int(out.status.Load()); {
	case status == 0 || status >= 500 || status == answers[codeProviderRefusedKey].status:
		used.ProviderErrors = 1
	case status >= 400:
		used.ClientErrors = 1
	default:
		used.Succeeded = 1
	}
	c.observe(bill.Model, used)
	c.stats.Answered(out.provider)
}

// conclude turns an error of the next handler into an answer, unless the provider's
// answer has already been passed on.
func (h *Handler) conclude(c *call, r *http.Request, err error) error {
	if err == nil {
		return nil
	}

	var refused *refusal
	var handlerErr caddyhttp.HandlerError
	var netErr net.Error
	switch {
	case errors.As(err, &refused):
	case c.held.client.Broke():
		refused = refuse(codeInvalidRequest, "the request body was cut short")
		if statusOf(err, http.StatusRequestEntityTooLarge) {
			refused = refuse(codeTooLarge, "the request body is longer than the site permits")
		}
	case c.outcome.answered: // one of the operator's response routes failed
		h.logger.Error("handling the provider's answer", append(h.fields(c, r), zap.Error(err))...)
		if errors.As(err, &handlerErr) {
			c.writer.WriteHeader(handlerErr.StatusCode)
		}
		return nil
	case errors.As(err, &handlerErr) && handlerErr.StatusCode == 499: // the client is gone
		c.outcome.status.Store(499)
		c.writer.WriteHeader(handlerErr.StatusCode)
		return nil
	case errors.As(err, &netErr) && netErr.Timeout():
		refused = refuse(codeProviderTimeout, c.target.key.Mask(err.Error()))
	default:
		refused = refuse(codeProviderUnreachable, c.target.key.Mask(err.Error()))
	}
	return h.refuse(c, r, refused)
}

// statusOf reports whether err wraps a handler error with a status.
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
func (h *Handler) refuse(c *call, r *http.Request, f *refusal) error {
	f = f.hiding(c.found.Known...).inForm(h.likelyProvider(c, r))
	f.log(h.logger, h.fields(c, r)...)
	c.outcome.status.Store(int32(answers[f.code].status))
	c.outcome.code = f.code
	c.announce(c.writer.Header())
	c.held.client.Drain(r, smallBody)
	c.held.client.KeepConnection()
	f.write(c.writer)
	return nil
}

// announce writes the relay's own headers.
func (c *call) announce(header http.Header) {
	cors.AllowAnyOrigin(header)
	c.rateLimit.Set(header)
	c.spending.announce(header)
}

// fields identifies a request in the log, without any secret.
func (h *Handler) fields(c *call, r *http.Request) []zap.Field {
	clientIP, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	fields := []zap.Field{zap.String("method", redact.Text(r.Method, c.found.Known...)), zap.String("client_ip", clientIP)}
	if p := c.permit; p != nil {
		fields = append(fields, zap.String("issuer", p.Issuer), zap.String("token_id", p.ID),
			zap.String("subject", redact.Text(p.Subject, c.found.Known...)), zap.String("provider", p.Provider))
	}
	return fields
}

// hideFromLog keeps a request out of the server's access log if the log would show the
// token. It reports whether the relay must log the request instead. Caddy clones the
// request for its log before any handler runs, so nothing can be stripped.
func (h *Handler) hideFromLog(r *http.Request, bare bool) bool {
	if h.LogRequests {
		return false
	}
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if server == nil || server.Logs == nil || !bare && !server.Logs.ShouldLogCredentials {
		return false
	}
	caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	return true
}

// logRequest logs a request that Caddy's access log must not show.
func (h *Handler) logRequest(c *call, r *http.Request) {
	if e := h.access.Check(zap.InfoLevel, "handled request"); e != nil {
		e.Write(append(h.fields(c, r),
			zap.Int32("status", c.outcome.status.Load()),
			zap.Int64("size", c.outcome.bytesOut.Load()),
			zap.Duration("duration", time.Since(c.start)))...)
	}
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
