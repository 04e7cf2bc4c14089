package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/keyfile"
	"github.com/relayapi/caddy-relayapi/tokenstore"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
)

func storeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Checks, backs up and maintains the store of a relay",
		Long: `Works on the SQLite store of a relay on this machine, by default the one in Caddy's
data directory. "check", "backup" and "export" work while the relay runs. The other
commands change the store; stop the relay first.`,
	}
	path := cmd.PersistentFlags().String("store", filepath.Join(keyfile.DefaultDir(), "relayapi.db"), "The store's file")
	cmd.AddCommand(checkCommand(path), backupCommand(path), exportCommand(path), importCommand(path), pruneCommand(path), acceptCommand(path), acceptFailoverCommand())
	refuseOthers(cmd)
	return cmd
}

func checkCommand(path *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Reads the whole store and reports damage",
		Args:  cobra.NoArgs,
	}
	asJSON := cmd.Flags().Bool("json", false, "Print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := tokenstore.Check(cmd.Context(), *path)
		if err != nil {
			return err
		}
		if *asJSON {
			if err := json.NewEncoder(cmd.OutOrStdout()).Encode(s); err != nil {
				return err
			}
		} else if len(s.Damage) == 0 {
			fmt.Fprintf(cmd.OutOrStdout(), "ok: %s, schema %d, since %s, %d tokens, %d counters, %d revocations\n",
				*path, s.Schema, s.Birth.Format(time.RFC3339), s.Tokens, s.Counters, s.Revocations)
		}
		if len(s.Damage) > 0 {
			return fmt.Errorf("the store is damaged: %s", s.Damage)
		}
		return nil
	}
	return cmd
}

func backupCommand(path *string) *cobra.Command {
	return &cobra.Command{
		Use:   "backup <file>",
		Short: "Copies a consistent snapshot of the store to a new file",
		Long: `Copies a consistent snapshot of the store to a new file. The relay may keep running.

A restored backup lacks the calls since it was made, so limits may be exceeded by
those. It does not include the key files beside the store.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return tokenstore.Backup(cmd.Context(), *path, args[0])
		},
	}
}

func pruneCommand(path *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "prune --before <time>",
		Short: "Removes tokens that expired before a time, and their usage",
		Long: `Removes tokens that expired before a time, and their usage. A running relay prunes a
token by itself when no refresh of it can be valid any more: max_ttl and a day after
it expired. Pruned tokens stay refused even if the clock is turned back. A refresh of
a pruned token counts from zero.`,
		Args: cobra.NoArgs,
	}
	before := cmd.Flags().String("before", "", "Such as 2026-01-31T00:00:00Z (required)")
	_ = cmd.MarkFlagRequired("before")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		t, err := pastTime("--before", *before)
		if err != nil {
			return err
		}
		return withLedger(cmd.Context(), *path, func(l *tokenstore.Ledger) error {
			removed, err := l.Prune(cmd.Context(), t)
			if err == nil {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "removed %d tokens\n", removed)
			}
			return err
		})
	}
	return cmd
}

func acceptCommand(path *string) *cobra.Command {
	return &cobra.Command{
		Use:   "accept-issued-since <time>",
		Short: "Accepts limited tokens that are older than the store",
		Long: `The relay refuses limited tokens that are older than its store, because their earlier
usage is unknown. After you replaced a lost store, use this command to accept tokens
that were issued since a time. They then count from zero.`,
		Example: "  caddy relayapi store accept-issued-since 2026-01-31T00:00:00Z",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := pastTime("the time", args[0])
			if err != nil {
				return err
			}
			return withLedger(cmd.Context(), *path, func(l *tokenstore.Ledger) error {
				return l.AcceptIssuedSince(cmd.Context(), t)
			})
		},
	}
}

func pastTime(name, value string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, value)
	if err != nil || t.Unix() <= 0 {
		return t, fmt.Errorf("%s %q: must be a time such as 2026-01-31T00:00:00Z", name, value)
	}
	if t.After(time.Now()) {
		return t, fmt.Errorf("%s %q is in the future", name, value)
	}
	return t, nil
}

// withLedger opens the store, which must exist and not be in use.
func withLedger(ctx context.Context, path string, do func(*tokenstore.Ledger) error) error {
	if _, err := tokenstore.Check(ctx, path); err != nil {
		return err
	}
	l, err := tokenstore.OpenSQLite(ctx, path)
	if errors.Is(err, tokenstore.ErrLocked) {
		return fmt.Errorf("%w; stop the relay first", err)
	}
	if err != nil {
		return err
	}
	err = do(l)
	if closeErr := l.Close(); err == nil {
		err = closeErr
	}
	return err
}

func exportCommand(path *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export <file>",
		Short: "Writes the store as JSON lines, or moves it to PostgreSQL",
		Long: `Writes a consistent snapshot of the store as JSON lines to a new file, or to standard
output for -. The relay may keep running.

A store that is imported from it lacks the calls since, so limits may be exceeded by
those. The export contains no token and no key.

With --postgres, it copies the store to an empty one in PostgreSQL instead. First stop
every relay that uses either store. Repeat an interrupted copy to complete it.
Afterwards, use only one of the two stores.`,
		Example: `  caddy relayapi store export backup.jsonl
  caddy relayapi store export --postgres {env.RELAYAPI_DSN}`,
		Args: cobra.MaximumNArgs(1),
	}
	dsn := postgresFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := fileOrPostgres(args, *dsn); err != nil {
			return err
		}
		if *dsn != "" {
			to, err := readDSN(*dsn)
			if err != nil {
				return err
			}
			return copyStore(cmd, tokenstore.Place{Path: *path}, tokenstore.Place{DSN: to})
		}
		return exportFile(cmd, *path, args[0])
	}
	return cmd
}

// fileOrPostgres checks that one of the two is given.
func fileOrPostgres(args []string, dsn string) error {
	if (len(args) == 0) == (dsn == "") {
		return errors.New("give either a file or --postgres")
	}
	return nil
}

func exportFile(cmd *cobra.Command, path, file string) error {
	var rows int64
	export := func(w io.Writer) (err error) {
		progress, done := progressOn(cmd)
		defer done()
		rows, err = tokenstore.Export(cmd.Context(), path, w, progress)
		return err
	}
	if file == "-" {
		return export(cmd.OutOrStdout())
	}
	if err := writeNewFile(file, export); err != nil {
		return err
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "exported %d rows\n", rows)
	return err
}

func importCommand(path *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import <file>",
		Short: "Creates a store from JSON lines, or from one in PostgreSQL",
		Long: `Creates a store from exported JSON lines in a file, or on standard input for -. It
imports all lines, or none if one is invalid. The store must not exist yet, or must be
empty, and no relay may use it. The counts of two stores cannot be merged.

Tokens that were issued before the exported store was made stay refused.

With --postgres, it copies a store in PostgreSQL instead. First stop every relay that
uses either store. Repeat an interrupted copy to complete it.`,
		Args: cobra.MaximumNArgs(1),
	}
	dsn := postgresFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := fileOrPostgres(args, *dsn); err != nil {
			return err
		}
		if *dsn != "" {
			from, err := readDSN(*dsn)
			if err != nil {
				return err
			}
			return copyStore(cmd, tokenstore.Place{DSN: from}, tokenstore.Place{Path: *path})
		}
		return importFile(cmd, *path, args[0])
	}
	return cmd
}

func importFile(cmd *cobra.Command, path, file string) error {
	in := cmd.InOrStdin()
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	progress, done := progressOn(cmd)
	rows, err := tokenstore.Import(cmd.Context(), path, in, progress)
	done()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "imported %d rows\n", rows)
	return err
}

// progressOn shows a progress bar if standard error is a terminal.
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

// writeNewFile writes a whole new file or none. It never replaces one. Only its owner
// may read it.
func writeNewFile(name string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".export-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close() // for early returns; a second Close only returns an error
	if err := write(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	err = os.Link(f.Name(), name) // fails if name exists; Rename would replace it
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists already", name)
	}
	return err
}
