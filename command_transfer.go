package relayapi

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/relayapi/caddy-relayapi/tokenstore"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
)

func exportCommand(path *string) *cobra.Command {
	return &cobra.Command{
		Use:   "export <file>",
		Short: "Writes the store as JSON lines, as it is at one moment",
		Long: `Writes the store as JSON lines, as it is at one moment, to a new file or, for -,
to standard output. The relay may go on.

A store that is made of it has forgotten the calls since, so that limits may be
exceeded by those. There is no token and no key in it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var rows int64
			export := func(w io.Writer) (err error) {
				progress, done := progressOn(cmd)
				defer done()
				rows, err = tokenstore.Export(cmd.Context(), *path, w, progress)
				return err
			}
			if args[0] == "-" {
				return export(cmd.OutOrStdout())
			}
			if err := writeNewFile(args[0], export); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "exported %d rows\n", rows)
			return err
		},
	}
}

func importCommand(path *string) *cobra.Command {
	return &cobra.Command{
		Use:   "import <file>",
		Short: "Makes a new store of JSON lines that were exported",
		Long: `Makes a new store of JSON lines that were exported, from a file or, for -, from
standard input: all of them, or none when a line is wrong. There must be no store
yet, or an empty one, and no relay that uses it: the counts of two stores cannot
be made one.

Tokens that were issued before the exported store was made stay refused.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := cmd.InOrStdin()
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			progress, done := progressOn(cmd)
			rows, err := tokenstore.Import(cmd.Context(), *path, in, progress)
			done()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "imported %d rows\n", rows)
			return err
		},
	}
}

// progressOn shows a bar while somebody looks at standard error.
func progressOn(cmd *cobra.Command) (progress func(done, all int64), done func()) {
	f, ok := cmd.ErrOrStderr().(*os.File)
	if !ok {
		return nil, func() {}
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil, func() {}
	}
	bar := progressbar.NewOptions64(0, progressbar.OptionSetWriter(f), progressbar.OptionShowCount(), progressbar.OptionClearOnFinish())
	return func(done, all int64) {
		if done == 1 {
			bar.ChangeMax64(all)
		}
		_ = bar.Set64(done)
	}, func() { _ = bar.Finish() }
}

// writeNewFile writes a file that is there whole or not at all, and never in the
// place of another. Only its owner may read it.
func writeNewFile(name string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".export-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close() // when it failed; a second time it only says so
	if err := write(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	err = os.Link(f.Name(), name) // fails if name is there, and Rename would not
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already", name)
	}
	return err
}
