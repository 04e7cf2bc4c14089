package adminapi

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// WriteJSON writes v as the answer, and returns the number of bytes sent.
func WriteJSON(w http.ResponseWriter, v any) (sent int64) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings, numbers and times of this era marshal
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(body)+1))
	header.Set("Cache-Control", "no-store")
	n, _ := w.Write(append(body, '\n')) // a client that is gone needs no answer
	return int64(n)
}
