package relayapi

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// withheldHeaders of an answer are about the relay's account, or would speak for
// the relay's own site.
var withheldHeaders = []string{
	"Set-Cookie", "Alt-Svc", "Strict-Transport-Security", "Public-Key-Pins", "Clear-Site-Data",
	"Openai-Organization", "Openai-Project", "Anthropic-Organization-Id", "X-Goog-User-Project",
}

// cleanHeader removes what must not be passed on from an answer's header, and
// returns the name of a field that holds the key, or "".
func cleanHeader(header http.Header, key *secret) string {
	for _, name := range withheldHeaders {
		delete(header, name)
	}
	for name, values := range header {
		if strings.HasPrefix(name, "Access-Control-") {
			delete(header, name)
			continue
		}
		for _, value := range values {
			if key.in(value) {
				return name
			}
		}
	}
	return ""
}

// maxErrorBody is how much of an error's body is passed on.
const maxErrorBody = 64 << 10

// maskBody reads the body of an error and masks every piece of the key in it:
// providers quote keys when they complain about them.
func maskBody(res *http.Response, key *secret) error {
	reader := io.Reader(res.Body)
	switch encoding := strings.ToLower(res.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
	case "gzip":
		unzipped, err := gzip.NewReader(res.Body)
		if errors.Is(err, io.EOF) { // no body at all, as after HEAD
			return nil
		}
		if err != nil {
			res.Body.Close()
			return refuse(codeAnswerWithheld, "its error body does not unzip")
		}
		reader = unzipped
	default:
		res.Body.Close()
		return refuse(codeAnswerWithheld, "its error body is encoded, which was not asked for")
	}
	body, err := io.ReadAll(io.LimitReader(reader, maxErrorBody))
	res.Body.Close()
	if err != nil {
		return refuse(codeProviderUnreachable, "its error body broke off")
	}
	text := key.mask(string(body))
	res.Body = io.NopCloser(strings.NewReader(text))
	if len(body) > 0 {
		res.Header.Del("Content-Encoding")
		res.Header.Set("Content-Length", strconv.Itoa(len(text)))
		res.ContentLength = int64(len(text))
	}
	return nil
}

// tap returns the answer's body as it is passed on: counted, and with trailers
// cleaned at its end.
func (rt *route) tap(res *http.Response) io.ReadCloser {
	t := &tap{body: res.Body, rt: rt, trailer: &res.Trailer}
	if conn, ok := res.Body.(io.ReadWriteCloser); ok && res.StatusCode == http.StatusSwitchingProtocols {
		return &tapConn{tap: t, conn: conn}
	}
	return t
}

type tap struct {
	body    io.ReadCloser
	rt      *route
	trailer *http.Header // complete when body is at its end
}

var errTrailer = errors.New("relayapi: a trailer of the answer holds the key")

func (t *tap) Read(p []byte) (int, error) {
	n, err := t.body.Read(p)
	t.rt.sent.Add(int64(n))
	if err == io.EOF && cleanHeader(*t.trailer, t.rt.secret) != "" {
		*t.trailer = nil
		err = errTrailer // too late for a status; the stream breaks
	}
	return n, err
}

func (t *tap) Close() error { return t.body.Close() }

// tapConn is the tap of a connection that switched protocols.
type tapConn struct {
	*tap
	conn io.ReadWriteCloser
}

func (c *tapConn) Write(p []byte) (int, error) { return c.conn.Write(p) }

// CloseWrite passes a half-close on, where the connection knows one.
func (c *tapConn) CloseWrite() error {
	if half, ok := c.conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.conn.Close()
}
