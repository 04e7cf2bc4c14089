package relayapi

import (
	"io"
	"log"
	"regexp"
)

// redactedLog blanks what a line of the standard logger quotes. net/http quotes
// there what a provider sends besides its answer, which may be the real key, and
// no transport prevents it.
type redactedLog struct{ io.Writer }

var quoted = regexp.MustCompile("\"(?:[^\"\\\\]|\\\\.)*(?:\"|\\s*$)|`[^`]*(?:`|\\s*$)")

func (l redactedLog) Write(line []byte) (int, error) {
	blanked := quoted.ReplaceAllFunc(line, func(text []byte) []byte {
		closing := text[:1]
		end := ""
		if text[len(text)-1] == '\n' {
			end = "\n"
		}
		return []byte(string(text[:1]) + "…" + string(closing) + end)
	})
	if _, err := l.Writer.Write(blanked); err != nil {
		return 0, err
	}
	return len(line), nil
}

// redactStandardLog has the lines of the standard logger redacted from now on. It
// is asked again for each call that could cause one, because Caddy sets the output
// of that logger when a config starts and when one ends.
func redactStandardLog() {
	if out := log.Writer(); !isRedacted(out) {
		log.SetOutput(redactedLog{out})
	}
}

func isRedacted(out io.Writer) bool {
	_, is := out.(redactedLog)
	return is
}
