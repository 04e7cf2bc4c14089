package relayapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/relayapi/caddy-relayapi/tokenstore"
	"github.com/spf13/cobra"
)

func storeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Checks, backs up and maintains the store of a relay",
		Long: `Works on the SQLite store of a relay on this machine, by default that in Caddy's
data directory. "check", "backup" and "export" can be run while the relay runs.
The others change the store and need it stopped.`,
	}
	path := cmd.PersistentFlags().String("store", defaultStorePath(), "The store's file")
	cmd.AddCommand(checkCommand(path), backupCommand(path), exportCommand(path), importCommand(path), pruneCommand(path), acceptCommand(path))
	refuseOthers(cmd)
	return cmd
}

func checkCommand(path *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Reads the whole store and tells what is wrong with it",
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
		Short: "Copies the store to a new file, as it is at one moment",
		Long: `Copies the store to a new file, as it is at one moment; the relay may go on.

A restored backup has forgotten the calls since it was made, so that limits may
be exceeded by those. The key files beside the store are not part of it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return tokenstore.Backup(cmd.Context(), *path, args[0])
		},
	}
}

func pruneCommand(path *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "prune --before <time>",
		Short: "Removes tokens that expired before a time, and what they used",
		Long: `Removes tokens that expired before a time, and what they used. A running relay
does that by itself, when no refresh of them can be good any more: max_ttl and a
day after they expired. Tokens that expired before stay refused, should the clock
be turned back; a refresh of one begins to count anew.`,
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
		Long: `A store refuses limited tokens that were issued before it was made: what they
have used is not in it. After a store was lost, and made anew, you may accept
those that were issued since a time, and with them that they start again from
nothing.`,
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
		return t, fmt.Errorf("%s %q is not a time such as 2026-01-31T00:00:00Z", name, value)
	}
	if t.After(time.Now()) {
		return t, fmt.Errorf("%s %q is in the future", name, value)
	}
	return t, nil
}

// withLedger opens the store, which must be there and not in use.
func withLedger(ctx context.Context, path string, do func(*tokenstore.Ledger) error) error {
	if _, err := tokenstore.Check(ctx, path); err != nil {
		return err
	}
	l, err := tokenstore.OpenSQLite(ctx, path)
	if errors.Is(err, tokenstore.ErrLocked) {
		return fmt.Errorf("%w: stop the relay first", err)
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
