package cli

import (
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// What cobra does not understand may be a token or a key.
func TestQuoteNothing(t *testing.T) {
	const key = "sk-live-0123456789abcdef"
	for name, tc := range map[string]struct {
		args []string
		want string // of the error
	}{
		"an argument too many":    {[]string{"limit", "list", key}, "unknown command"},
		"two arguments":           {[]string{"token", "inspect", "a", key}, "at most 1 arg"},
		"a value of a flag":       {[]string{"limit", "set", "--calls", key}, `for "--calls" flag`},
		"a value of the other":    {[]string{"token", "update", "--calls=" + key, "x"}, `for "--calls" flag`},
		"an unknown flag":         {[]string{"status", "--" + key}, "unknown flag"},
		"a flag of one letter":    {[]string{"status", "-" + key}, "unknown shorthand"},
		"a flag without a name":   {[]string{"status", "--=" + key}, "bad flag"},
		"an unknown command":      {[]string{"token", key}, "unknown command"},
		"a short value is quoted": {[]string{"limit", "set", "--calls", "many"}, `"many"`},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := &cobra.Command{Use: "relayapi", SilenceUsage: true, SilenceErrors: true}
			Command.CobraFunc(cmd)
			cmd.SetArgs(tc.args)
			cmd.SetOut(io.Discard)
			cmd.SetErr(io.Discard)
			err := cmd.Execute()
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), key[8:]) {
				t.Errorf("got %v, want an error with %q and without the key", err, tc.want)
			}
		})
	}
}
