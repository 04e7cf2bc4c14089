package cli

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// newAdmin starts an admin endpoint that answers {}, and returns its address.
func newAdmin(t *testing.T) string {
	t.Helper()
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }))
	t.Cleanup(admin.Close)
	return strings.TrimPrefix(admin.URL, "http://")
}

func TestUI_PrintsLinkAndServesUntilInterrupted(t *testing.T) {
	address := newAdmin(t)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := serveUI(ctx, write, address, "127.0.0.1:0", false)
		_ = write.Close()
		ended <- err
	}()

	var link string
	for lines := bufio.NewScanner(read); link == "" && lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "http://127.0.0.1:") {
			link = lines.Text()
		}
	}
	res, err := http.Get(link)
	if err != nil {
		t.Fatal("the link does not answer") // the error would show it
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("the link has status %d, want 200", res.StatusCode)
	}

	interrupt()
	if err := <-ended; err != nil {
		t.Errorf("the command ends with %v, want no error", err)
	}
}

func TestUI_RefusesToStart(t *testing.T) {
	for _, test := range []struct{ name, address, listen, want string }{
		{"address that is not loopback", newAdmin(t), "0.0.0.0:0", "loopback"},
		{"no relay", "127.0.0.1:1", "127.0.0.1:0", "is the relay running"},
	} {
		var out strings.Builder
		err := serveUI(t.Context(), &out, test.address, test.listen, false)
		if err == nil || !strings.Contains(err.Error(), test.want) || out.Len() != 0 {
			t.Errorf("%s: %v, and %d bytes printed; want an error with %q, and 0", test.name, err, out.Len(), test.want)
		}
	}
}
