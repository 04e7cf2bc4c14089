package relayapi

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/relayapi/caddy-relayapi/dialect"
	"github.com/relayapi/caddy-relayapi/grant"
)

const (
	// maxBody is how long a body may be that is looked into for its model. It
	// has to be in memory: the name may be the last thing in it.
	maxBody = 32 << 20
	// maxBodies is how much of bodies is in memory at once, of all calls.
	maxBodies = 512 << 20
)

// permitModels holds a request against the models that its token permits, and
// writes the one that the token sets. Only for tokens that say something of
// models a body is read.
func (h *Handler) permitModels(w http.ResponseWriter, r *http.Request, relay *relay, p *permit, rt *route) *refusal {
	if !p.ModelBound() && p.SetModel == "" {
		return nil
	}
	d := p.provider.dialect
	request := &dialect.Request{Path: r.URL.Path, RawQuery: r.URL.RawQuery, WebSocket: asksForWebSocket(r)}
	switch {
	case len(r.Header["Content-Type"]) > 1:
		return refuse(codeInvalidRequest, "there are two Content-Types")
	case request.WebSocket && r.Method == http.MethodGet && r.ContentLength != 0: // nobody would look into it
		return refuse(codeInvalidRequest, "the handshake of a WebSocket has a body")
	}
	request.ContentType = r.Header.Get("Content-Type")
	if !request.WebSocket && d.ReadsBody(request.Path) && r.Body != nil && r.Body != http.NoBody {
		if refused := holdBody(w, r, &relay.ledger.bodies, rt); refused != nil {
			return refused
		}
		request.Body = rt.held
	}
	if p.SetModel != "" {
		if err := d.Write(request, p.SetModel); err != nil {
			return unclear(err)
		}
		rewrite(r, request, rt)
	}
	named, err := d.Read(request)
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
		rt.messages = &messageGuard{permit: p, rt: rt, bodies: &relay.ledger.bodies, named: named.Model != ""}
		delete(r.Header, "Sec-Websocket-Extensions") // compressed messages could not be read
	}
	return nil
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
			strings.Contains(strings.ToLower(strings.Join(r.Header["Connection"], ",")), "upgrade"))
}

// rewrite changes a request to what the dialect has written.
func rewrite(r *http.Request, to *dialect.Request, rt *route) {
	if r.URL.Path != to.Path {
		r.URL.Path, r.URL.RawPath = to.Path, ""
	}
	r.URL.RawQuery = to.RawQuery
	r.RequestURI = r.URL.RequestURI()
	if rt.held != nil {
		rt.held = to.Body
		setBody(r, rt, to.Body)
	}
}

func setBody(r *http.Request, rt *route, body []byte) {
	if _, ok := r.Header["Content-Length"]; ok && r.ContentLength != int64(len(body)) {
		r.Header["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	rt.memory.Reset(body)
	r.Body, r.ContentLength, r.TransferEncoding = &rt.memory, int64(len(body)), nil
}

// bodies is how much memory the bodies take that are held at present.
type bodies struct{ held atomic.Int64 }

// letGo gives back what a call's body took.
func (b *bodies) letGo(rt *route) {
	if rt.took > 0 {
		b.held.Add(-rt.took)
	}
}

var (
	errBodyTooLong = errors.New("the body is longer than a body whose model is read")
	errBodiesFull  = errors.New("the bodies that are being looked into take all memory that there is for them")
)

// firstRoom is how much room a body may have from the start, because of what is
// only said of its length.
const firstRoom = 1 << 20

// zstdWindow is what decoders are given: what encoders use at their usual levels,
// and no more, because a few bytes are enough to claim all of it.
const zstdWindow = 2 << 20

// How long a client may take to send a body that is held: so that nobody fills the
// memory for all with bodies that do not end.
const (
	bodyPatience = 30 * time.Second
	bodyPace     = 64 << 10 // bytes a second, after that
)

// bodyMeter counts what is read against both bounds, and waits no longer for it
// than it should.
type bodyMeter struct {
	io.Reader
	rt     *route
	bodies *bodies
	client *http.ResponseController
	begun  time.Time
	until  time.Time
}

func (m *bodyMeter) Read(p []byte) (int, error) {
	if until := m.begun.Add(bodyPatience + time.Duration(m.rt.took/bodyPace)*time.Second); until != m.until {
		m.until = until
		_ = m.client.SetReadDeadline(until) // where it cannot be set, the server's own holds
	}
	n, err := m.Reader.Read(p)
	m.rt.took += int64(n)
	switch {
	case m.bodies.held.Add(int64(n)) > maxBodies:
		return n, errBodiesFull
	case m.rt.took > maxBody:
		return n, errBodyTooLong
	}
	return n, err
}

// holdBody reads the whole body of a request into its route. One that was
// encoded goes on as it was read: what a second decoder made of it might be
// something else.
func holdBody(w http.ResponseWriter, r *http.Request, bodies *bodies, rt *route) *refusal {
	if strings.EqualFold(r.Header.Get("Content-Encoding"), "zstd") {
		defer bodies.held.Add(-zstdWindow)
		if bodies.held.Add(zstdWindow) > maxBodies {
			return refuse(codeBusy, errBodiesFull.Error())
		}
	}
	encodings := r.Header["Content-Encoding"]
	var err error
	if short(r) && len(encodings) == 0 {
		if rt.took = r.ContentLength; bodies.held.Add(rt.took) > maxBodies {
			return refuse(codeBusy, errBodiesFull.Error())
		}
		// No deadline: it takes hardly more memory than its connection does.
		rt.held, err = readShort(r, rt)
	} else {
		rt.held, err = readMetered(w, r, encodings, bodies, rt)
	}
	rt.bytesIn.Store(0) // it is counted when it goes out
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.Is(err, errBodyTooLong), statusOf(err, http.StatusRequestEntityTooLarge):
		return refuse(codeTooLarge, errBodyTooLong.Error())
	case errors.Is(err, errBodiesFull):
		return refuse(codeBusy, errBodiesFull.Error())
	case rt.clientBroke.Load():
		return refuse(codeInvalidRequest, "the request's body broke off")
	case err != nil:
		return refuse(codeInvalidRequest, "the request's body does not decode")
	}
	delete(r.Header, "Content-Encoding")
	setBody(r, rt, rt.held)
	return nil
}

// readMetered reads a body that is long, or that may become so.
func readMetered(w http.ResponseWriter, r *http.Request, encodings []string, bodies *bodies, rt *route) ([]byte, error) {
	rt.sent = clientBody{r.Body, rt}
	plain, err := decoded(&rt.sent, encodings)
	if err != nil {
		return nil, err
	}
	defer plain.Close() // whatever there was to say was said when it was read
	client := http.NewResponseController(w)
	defer client.SetReadDeadline(time.Time{}) // a server that has none has set none
	var b bytes.Buffer
	b.Grow(int(min(max(0, r.ContentLength), firstRoom)) + bytes.MinRead)
	_, err = b.ReadFrom(&bodyMeter{Reader: plain, rt: rt, bodies: bodies, client: client, begun: time.Now()})
	return b.Bytes(), err
}

// decoded undoes a content coding.
func decoded(body io.Reader, encodings []string) (io.ReadCloser, error) {
	switch encoding := strings.ToLower(strings.Join(encodings, ",")); encoding {
	case "", "identity":
		return io.NopCloser(body), nil
	case "gzip":
		return gzip.NewReader(body)
	case "zstd":
		zipped, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, err
		}
		return zipped.IOReadCloser(), nil
	}
	return nil, refuse(codeInvalidRequest, "the body is encoded otherwise than as gzip or zstd, and its model is to be read")
}
