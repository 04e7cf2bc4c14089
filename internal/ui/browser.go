package ui

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// OpenBrowser opens a link in the operator's browser. The link goes through a file that
// only the operator can read, because every user of a machine can list the arguments of
// commands. Call done to remove the file when the link has been used.
func OpenBrowser(link string) (done func(), err error) {
	opener := map[string][]string{
		"darwin":  {"open"},
		"windows": {"rundll32", "url.dll,FileProtocolHandler"},
	}[runtime.GOOS]
	switch {
	case opener != nil:
	case os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "":
		return func() {}, errors.New("there is no display")
	default:
		opener = []string{"xdg-open"}
	}

	dir, err := os.MkdirTemp("", "relayapi-ui-") // only the operator may enter it
	if err != nil {
		return func() {}, fmt.Errorf("making a file with the link: %w", err)
	}
	done = func() { _ = os.RemoveAll(dir) }
	file := filepath.Join(dir, "open.html")
	if err := os.WriteFile(file, []byte(forwarding(link)), 0o600); err != nil {
		return done, fmt.Errorf("writing a file with the link: %w", err)
	}
	cmd := exec.Command(opener[0], append(opener[1:], file)...)
	if err := cmd.Start(); err != nil {
		return done, fmt.Errorf("opening a browser: %w", err)
	}
	go func() { _ = cmd.Wait() }() // its exit code says nothing about the browser
	return done, nil
}

// forwarding returns a page that forwards to a URL.
func forwarding(url string) string {
	return fmt.Sprintf("<!doctype html><title>RelayAPI</title><meta http-equiv=\"refresh\" content=\"0; url=%s\">", url)
}
