package tokenstore

import (
	"context"
	"fmt"
	"time"
)

const (
	claimFor  = 2 * time.Second // how long a process that took a silent token has to revoke it
	keptBeats = 48 * time.Hour  // how long a row is kept after its time has ended
)

// serverNow is the server's clock in milliseconds. It makes the clocks of the processes
// irrelevant.
const serverNow = `(extract(epoch FROM clock_timestamp()) * 1000)::bigint`

// Silent is a token whose heartbeats have stopped.
type Silent struct{ Issuer, ID string }

// Beat extends the time of a token until its next heartbeat, whichever process receives
// that. It reports false if some process has already found the time over.
func (s *Shared) Beat(ctx context.Context, issuer, id string, ttl time.Duration) (alive bool, err error) {
	err = s.beats(ctx, func(ctx context.Context) error {
		result, err := s.db.db.ExecContext(ctx, `
			INSERT INTO heartbeats (issuer, id, until) VALUES ($1, $2, `+serverNow+` + $3)
			ON CONFLICT (issuer, id) DO UPDATE SET until = excluded.until
			WHERE NOT heartbeats.revoked AND heartbeats.claimed = 0`, issuer, id, ttl.Milliseconds())
		if err != nil {
			return err
		}
		rows, err := result.RowsAffected()
		alive = rows == 1
		return err
	})
	return alive, err
}

// Reachable returns why no heartbeat can be taken, or nil.
func (s *Shared) Reachable(ctx context.Context) error {
	return s.beats(ctx, s.db.db.PingContext)
}

// TakeSilent returns tokens whose time is over. Each is returned to one process, which
// must call [Shared.Silenced] once it has revoked the token. Otherwise another process
// soon gets it.
func (s *Shared) TakeSilent(ctx context.Context) (all []Silent, err error) {
	err = s.beats(ctx, func(ctx context.Context) error {
		rows, err := s.db.db.QueryContext(ctx, `
			UPDATE heartbeats SET claimed = `+serverNow+` + $1 WHERE (issuer, id) IN (
				SELECT issuer, id FROM heartbeats WHERE NOT revoked AND until <= `+serverNow+` AND claimed <= `+serverNow+`
				ORDER BY until LIMIT 100 FOR UPDATE SKIP LOCKED)
			RETURNING issuer, id`, claimFor.Milliseconds())
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var t Silent
			if err := rows.Scan(&t.Issuer, &t.ID); err != nil {
				return err
			}
			all = append(all, t)
		}
		return rows.Err()
	})
	return all, err
}

// Silenced records that a token is revoked, so that a later heartbeat does not revive
// it.
func (s *Shared) Silenced(ctx context.Context, issuer, id string) error {
	return s.beats(ctx, func(ctx context.Context) error {
		_, err := s.db.db.ExecContext(ctx, `UPDATE heartbeats SET revoked = TRUE WHERE issuer = $1 AND id = $2`, issuer, id)
		return err
	})
}

// ForgetBeats ends the heartbeats of a token that was revoked otherwise.
func (s *Shared) ForgetBeats(ctx context.Context, issuer, id string) error {
	return s.beats(ctx, func(ctx context.Context) error {
		_, err := s.db.db.ExecContext(ctx, `DELETE FROM heartbeats WHERE issuer = $1 AND id = $2`, issuer, id)
		return err
	})
}

// beats runs a statement about heartbeats, with a timeout.
func (s *Shared) beats(ctx context.Context, run func(context.Context) error) error {
	if err := s.db.ready(); err != nil {
		return unavailable(err)
	}
	ctx, cancel := context.WithTimeout(ctx, sharedTimeout)
	defer cancel()
	if err := run(ctx); err != nil {
		return unavailable(fmt.Errorf("keeping heartbeats: %w", err))
	}
	return nil
}
