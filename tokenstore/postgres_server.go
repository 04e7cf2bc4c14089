package tokenstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// server identifies a PostgreSQL server and its history. The system identifier is
// made with the cluster. The timeline changes when a standby is promoted or a backup
// is restored.
//
// A failover may have lost grants. Unless replication is synchronous, a commit is
// reported before the standby has it. Units granted in the last moments are then served
// but not counted on the new server, so a limit could be exceeded unnoticed. The same
// holds for a restored backup. Therefore a server that is not the one on record grants
// nothing until an operator accepts it.
//
// The former primary must be fenced: a relay that still reaches it cannot know that
// there is another one.
type server struct{ system, timeline int64 }

// serverKey is the key under which a connection keeps its server. The server cannot
// change while the connection lives, because connections to a standby are refused.
const serverKey = "relayapi server"

func serverOf(conn *pgx.Conn) server {
	s, _ := conn.PgConn().CustomData()[serverKey].(server)
	return s
}

// inspect identifies the server at the other end, and refuses one that cannot keep
// what it commits. The timeline is read from the name of the current WAL file:
// pg_control_checkpoint() has it only after the first checkpoint.
func inspect(ctx context.Context, conn *pgx.Conn) (s server, err error) {
	var fsync, standby bool
	err = conn.QueryRow(ctx, `SELECT current_setting('fsync') = 'on', pg_is_in_recovery(), (SELECT system_identifier FROM pg_control_system()),
		CASE WHEN pg_is_in_recovery() THEN 0 ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint END`).
		Scan(&fsync, &standby, &s.system, &s.timeline)
	switch {
	case err != nil:
		return s, fmt.Errorf("inspecting server: %w", err)
	case !fsync:
		return s, ErrFsyncOff
	case standby:
		return s, errors.New("the server is a standby and cannot be written to")
	}
	return s, nil
}

// readState reads the server on record and the number of the latest change. It fails
// if the server has stopped waiting for its disk, which needs no restart.
func readState(ctx context.Context, conn *pgx.Conn) (recorded server, change int64, err error) {
	var fsync bool
	err = conn.QueryRow(ctx, `SELECT system, timeline, change, current_setting('fsync') = 'on' FROM state`).
		Scan(&recorded.system, &recorded.timeline, &change, &fsync)
	if err != nil {
		return recorded, 0, fmt.Errorf("reading state of store: %w", err)
	}
	if !fsync {
		return recorded, 0, ErrFsyncOff
	}
	return recorded, change, nil
}

// AcceptFailover puts the store's present server on record, so that the relays that use
// it admit calls again. The operator thereby accepts the loss of the former server's
// last changes: calls of its last moments may be admitted again, and revocations and
// limits of those moments may be lost.
func AcceptFailover(ctx context.Context, dsn string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("accepting failover: %w", err)
		}
	}()

	config, err := parseDSN(dsn)
	if err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))

	current, err := inspect(ctx, conn)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, `UPDATE state SET system = $1, timeline = $2`, current.system, current.timeline)
	return err
}
