package adminapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// Client asks the admin endpoint of a running relay.
type Client struct {
	Address string // empty means Caddy's default
	Hint    string // appended to the advice in the error if nothing answers; may be empty
}

// Do sends a request and decodes the answer. A nil body means none.
func (c Client) Do(method, uri string, body []byte, answer any) error {
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	address := caddy.DefaultAdminListen
	if c.Address != "" {
		address = strings.TrimPrefix(c.Address, "http://")
	}

	res, err := caddycmd.AdminAPIRequest(address, method, uri, nil, reader)
	if err != nil {
		// Only the text of the error shows whether there was an answer.
		if _, answered, ok := strings.Cut(err.Error(), "caddy responded with error: "); ok {
			return refusal(answered)
		}
		return fmt.Errorf("%w\n(is the relay running with its admin endpoint at %s? use --address to change it%s)", err, address, c.Hint)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(answer); err != nil {
		return fmt.Errorf("the answer from %s is not from the admin endpoint of a relay: %w", address, err)
	}
	return nil
}

// RefusedError is a refusal of the admin endpoint.
type RefusedError struct {
	Status  int // of HTTP
	Message string
}

// Error returns the message.
func (e *RefusedError) Error() string { return "the admin endpoint refused: " + e.Message }

// refusal parses a text such as `HTTP 400: {"error":"…"}`.
func refusal(answered string) error {
	var said struct {
		Error string `json:"error"`
	}
	code, body, _ := strings.Cut(answered, ": ")
	status, _ := strconv.Atoi(strings.TrimPrefix(code, "HTTP "))
	if err := json.Unmarshal([]byte(body), &said); err != nil || said.Error == "" {
		return fmt.Errorf("the answer is not from the admin endpoint of a relay: %s", strings.TrimRight(answered, ": \n"))
	}
	return &RefusedError{Status: status, Message: said.Error}
}
