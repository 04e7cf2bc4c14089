package ui

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/relayapi/caddy-relayapi/internal/adminapi"
)

// requests lists the requests that the page may send to the admin API: a method and a
// path of the page, and the path in the admin API.
var requests = []struct {
	method, path string
	uri          func(url.Values) (string, error)
}{
	{http.MethodGet, "tokens", list("tokens")},
	{http.MethodPost, "tokens", list("tokens")},
	{http.MethodGet, "token", token},
	{http.MethodPatch, "token", token},
	{http.MethodDelete, "token", token},
	{http.MethodGet, "calls", list("calls")},
	{http.MethodDelete, "call", call},
	{http.MethodGet, "limits", list("limits")},
	{http.MethodPut, "limits", list("limits")},
	{http.MethodDelete, "limits", list("limits")},
	{http.MethodGet, "usage", list("usage")},
}

// list appends the query to a path.
func list(path string) func(url.Values) (string, error) {
	return func(query url.Values) (string, error) {
		uri := "/relayapi/" + path
		if len(query) > 0 {
			uri += "?" + query.Encode()
		}
		return uri, nil
	}
}

// token returns the path of the token that a query names. The page does not put it in
// its own path, because browsers remove an id of one or two dots from paths, even when
// it is escaped.
func token(query url.Values) (string, error) {
	i, err := adminapi.ParseIdentity(query.Get("issuer") + "/" + query.Get("id"))
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	return i.Path(), nil
}

// call returns the path of the call that a query names.
func call(query url.Values) (string, error) {
	id := query.Get("id")
	if id == "" || strings.Trim(id, "0123456789abcdefghijklmnopqrstuvwxyz") != "" {
		return "", errors.New("id: must be the id of a call")
	}
	return "/relayapi/calls/" + id, nil
}

// forward registers the listed requests with a mux, below /api/.
func forward(mux *http.ServeMux, ask Ask) {
	for _, to := range requests {
		mux.HandleFunc(to.method+" /api/"+to.path, func(w http.ResponseWriter, r *http.Request) {
			query, err := url.ParseQuery(r.URL.RawQuery)
			if err != nil {
				fail(w, http.StatusBadRequest, "the query does not parse")
				return
			}
			uri, err := to.uri(query)
			if err != nil {
				fail(w, http.StatusBadRequest, err.Error())
				return
			}
			body, status, err := adminapi.ReadBody(r.Body)
			if err != nil {
				fail(w, status, err.Error())
				return
			}
			if len(body) == 0 {
				body = nil
			}

			var answer json.RawMessage
			if err := ask(r.Method, uri, body, &answer); err != nil {
				fail(w, statusOf(err), err.Error())
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(answer) // the client may be gone
		})
	}
}

// statusOf returns the status for an error of the admin endpoint: its own status, or
// 502 if the relay does not answer.
func statusOf(err error) int {
	var refused *adminapi.RefusedError
	if errors.As(err, &refused) && refused.Status >= 400 && refused.Status < 600 {
		return refused.Status
	}
	return http.StatusBadGateway
}
