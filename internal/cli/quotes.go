package cli

import (
	"errors"
	"strings"

	"github.com/relayapi/caddy-relayapi/internal/redact"
	"github.com/spf13/cobra"
)

// quoteNothing keeps arguments that may be a token or a key out of the errors of a
// command and its subcommands. Cobra's own errors quote arguments that it does not
// understand.
func quoteNothing(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return unquoted(err) })
	for _, sub := range cmd.Commands() {
		quoteNothing(sub)
	}
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			return unquoted(check(cmd, args), args...)
		}
	}
}

// unquoted returns an error without possible secrets: words that look like a token, and
// long arguments.
func unquoted(err error, given ...string) error {
	if err == nil {
		return nil
	}
	var value interface {
		error
		GetValue() string // of a flag
	}
	if errors.As(err, &value) {
		given = append(given, value.GetValue())
	}
	var name interface {
		error
		GetSpecifiedName() string // of an unknown flag, or of one without a value
		GetSpecifiedShortnames() string
	}
	if errors.As(err, &name) {
		given = append(given, name.GetSpecifiedName(), name.GetSpecifiedShortnames())
	}
	var syntax interface {
		error
		GetSpecifiedFlag() string
	}
	if errors.As(err, &syntax) {
		given = append(given, syntax.GetSpecifiedFlag())
	}

	text := err.Error()
	for _, word := range given {
		if len(word) >= redact.PieceSize {
			text = strings.ReplaceAll(text, word, "***")
		}
	}
	if text = redact.Text(text); text == err.Error() {
		return err
	}
	return errors.New(text)
}
