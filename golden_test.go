package relayapi

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// A golden has the wording of a table's messages, so that the table asserts only what
// must be in them. In its file a row's name is followed by a line with the message.
type golden struct {
	t    *testing.T
	file string
	got  map[string]string
}

// timeInMessage is what a golden file has <time> for.
var timeInMessage = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)

// newGolden returns the golden of a file in testdata. When the test ends, it is
// compared with the file, or with -update the file is rewritten.
func newGolden(t *testing.T, file string) *golden {
	t.Helper()
	g := &golden{t: t, file: filepath.Join("testdata", file), got: make(map[string]string)}
	t.Cleanup(g.compare)
	return g
}

// says keeps the message of a row.
func (g *golden) says(row, message string) {
	g.t.Helper()
	if _, twice := g.got[row]; twice {
		g.t.Errorf("two rows have the name %q", row)
	}
	g.got[row] = timeInMessage.ReplaceAllString(message, "<time>")
}

func (g *golden) compare() {
	switch {
	case *update && g.t.Failed():
		return
	case *update:
		g.write()
		return
	}
	want := g.read()
	for row, message := range g.got {
		if message != want[row] {
			g.t.Errorf("%s says\n%s\nwant\n%s\nas in %s, see -update", row, message, want[row], g.file)
		}
		delete(want, row)
	}
	for row := range want {
		if someRows := strings.Contains(flag.Lookup("test.run").Value.String(), "/"); !someRows {
			g.t.Errorf("%s has %q, of which no message was seen", g.file, row)
		}
	}
}

func (g *golden) write() {
	var text strings.Builder
	for _, row := range slices.Sorted(maps.Keys(g.got)) {
		text.WriteString(row + "\n\t" + g.got[row] + "\n")
	}
	if err := os.WriteFile(g.file, []byte(text.String()), 0o644); err != nil {
		g.t.Fatal(err)
	}
}

func (g *golden) read() map[string]string {
	data, err := os.ReadFile(g.file)
	if err != nil {
		g.t.Fatal(err)
	}
	want, row := make(map[string]string), ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		if message, ok := strings.CutPrefix(line, "\t"); ok {
			want[row] = message
		} else {
			row = line
		}
	}
	return want
}
