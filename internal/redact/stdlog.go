package redact

import (
	"io"
	"log"
	"regexp"
)

// redactedLog blanks what a line of the standard logger quotes. There net/http
// quotes what a provider sends beyond its answer, which may be the real key. No
// transport prevents it.
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

// StandardLog redacts the lines of the standard logger from now on. Call it again
// before each call that could cause a line: Caddy sets the logger's output when a
// config starts and when one ends.
func StandardLog() {
	if out := log.Writer(); !isRedacted(out) {
		log.SetOutput(redactedLog{out})
	}
}

func isRedacted(out io.Writer) bool {
	_, is := out.(redactedLog)
	return is
}
