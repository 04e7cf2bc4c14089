package tokenstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"strings"
	"time"
)

// Place says where a store is: in a file of SQLite, or in PostgreSQL. One of the two
// is set.
type Place struct {
	Path string
	DSN  string
}

// ErrInUse means that a relay uses a store that is to be copied.
var ErrInUse = errors.New("the store is in use: stop the relays that use it first")

// copyPage is how many rows are compared and written at once. A row has up to 40
// columns, and SQLite permits 32 766 parameters.
const copyPage = 700

// Copy copies a whole store to an empty one, from SQLite to PostgreSQL, back, or
// between two of a kind. No relay may use either. progress, if not nil, is called with
// the number of rows done and of all rows.
//
// Repeat an interrupted copy to complete it: rows that are equal already are only
// compared. Until then, the target cannot be opened. After a complete copy, use only
// one of the two: each would permit what the other has counted since.
func Copy(ctx context.Context, from, to Place, progress func(done, all int64)) (rows int64, err error) {
	source, err := openSource(ctx, from)
	if err != nil {
		return 0, fmt.Errorf("opening source: %w", err)
	}
	defer func() { err = errors.Join(err, source.close()) }()
	target, err := openPlace(ctx, to)
	if err != nil {
		return 0, fmt.Errorf("opening target: %w", err)
	}
	defer func() { err = errors.Join(err, target.close()) }()

	if err := target.begin(source); err != nil {
		return 0, fmt.Errorf("preparing target: %w", err)
	}
	c := copying{source: source.tables, target: target.tables, progress: progress}
	for _, t := range transfers {
		n, err := c.source.number("SELECT count(*) FROM " + t.table)
		if err != nil {
			return 0, fmt.Errorf("counting rows of %s: %w", t.table, err)
		}
		c.all += n
	}
	for _, t := range transfers {
		if err := c.table(ctx, t); err != nil {
			return c.done, fmt.Errorf("copying %s: %w", t.table, err)
		}
	}
	if err := target.inTx(func(tx *sql.Tx) error { return resum(ctx, tx) }); err != nil {
		return c.done, fmt.Errorf("completing target: %w", err)
	}
	if _, err := target.exec(event{kind: eventReload}, `DELETE FROM meta WHERE key = 'copying'`); err != nil {
		return c.done, fmt.Errorf("completing target: %w", err)
	}
	return c.done, nil
}

// openedPlace is a store that is being copied.
type openedPlace struct {
	*tables
	writer *sql.DB // of PostgreSQL, nil of SQLite
	close  func() error
}

// openPlace opens a store exclusively.
func openPlace(ctx context.Context, p Place) (*openedPlace, error) {
	switch {
	case (p.Path == "") == (p.DSN == ""):
		return nil, errors.New("place of a store: must have either a path or a DSN")
	case p.Path != "":
		db, err := openDB(ctx, p.Path, time.Now)
		if err != nil {
			return nil, err
		}
		return &openedPlace{&db.tables, nil, db.close}, nil
	}

	db, err := newPostgresDB(PostgresConfig{DSN: p.DSN}, time.Now)
	if err != nil {
		return nil, err
	}
	db.maxOffline = math.MaxInt64 // no process follows changes
	db.timeout = 0                // no call waits, and summing up the usage of years may take minutes
	if err := cmp.Or(db.start(ctx), db.ready()); err != nil {
		return nil, errors.Join(err, db.close())
	}
	// The writer's connection is free for this. The lock ends with it at the latest.
	var free bool
	err = db.writer.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1, hashtext(current_schema()))`, lockInUse).Scan(&free)
	if err == nil && !free {
		err = ErrInUse
	}
	if err != nil {
		return nil, errors.Join(err, db.close())
	}
	return &openedPlace{&db.tables, db.writer, func() error {
		// The server may notice late that a connection is closed, and a relay may start now.
		ctx, cancel := context.WithTimeout(context.Background(), unlockTime)
		defer cancel()
		_, _ = db.writer.ExecContext(ctx, `SELECT pg_advisory_unlock_all()`)
		return db.close()
	}}, nil
}

// unlockTime bounds how long it may take to release the lock of a store.
const unlockTime = 5 * time.Second

// openSource opens a complete store that exists.
func openSource(ctx context.Context, from Place) (*openedPlace, error) {
	if from.Path != "" {
		if _, err := os.Stat(from.Path); err != nil {
			return nil, err
		}
	}
	p, err := openPlace(ctx, from)
	if err != nil {
		return nil, err
	}
	if unfinished, err := p.unfinished(); unfinished || err != nil {
		return nil, errors.Join(cmp.Or(err, ErrCopying), p.close())
	}
	if err := p.freeze(ctx); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// freeze keeps every process from writing until p is closed, because a relay that has
// briefly lost its connection holds no lock.
func (p *openedPlace) freeze(ctx context.Context) error {
	if p.writer == nil {
		return nil // the lock beside the file does
	}
	tx, err := p.writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	closeAll := p.close
	p.close = func() error {
		_ = tx.Rollback() // it fails if ctx has ended it
		return closeAll()
	}
	_, err = tx.ExecContext(ctx, `LOCK TABLE tokens, counters, usage, meta, revocations, limits, warnings IN SHARE MODE`)
	return err
}

// unfinished implements [backend].
func (s *tables) unfinished() (bool, error) {
	n, err := s.number(`SELECT count(*) FROM meta WHERE key = 'copying'`)
	return n > 0, err
}

// begin marks an empty store as the target of a copy. It accepts a target of an earlier
// copy if the source has the same birth.
func (p *openedPlace) begin(source *openedPlace) error {
	var filled int64
	for _, t := range transfers {
		if t.table == "meta" {
			continue
		}
		n, err := p.number("SELECT count(*) FROM (SELECT 1 FROM " + t.table + " LIMIT 1) AS first")
		if err != nil {
			return err
		}
		filled += n
	}
	unfinished, err := p.number(`SELECT value FROM meta WHERE key = 'copying'`)
	if err != nil {
		return err
	}

	birth := source.birthday().Unix()
	switch {
	case unfinished == birth:
		return nil
	case unfinished != 0 || filled > 0:
		return ErrNotEmpty
	}
	_, err = p.exec(event{kind: eventReload}, `INSERT INTO meta (key, value) VALUES ('copying', ?)`, birth)
	return err
}

// copying is a copy in progress.
type copying struct {
	source, target *tables
	done, all      int64
	progress       func(done, all int64)
}

// table makes a table of the target equal to that of the source, page by page in the
// order of its key. Both databases order texts by their bytes.
func (c *copying) table(ctx context.Context, t transfer) error {
	var after []any // the key of the last row of the previous page
	for more := true; more; {
		page, err := t.page(ctx, c.source, after)
		if err != nil {
			return fmt.Errorf("reading source: %w", err)
		}
		var last []any // nil: all that follow
		if more = len(page) == copyPage; more {
			last = t.keyOf(page[len(page)-1])
		}
		have, err := t.page(ctx, c.target, after)
		if err != nil {
			return fmt.Errorf("reading target: %w", err)
		}

		if !reflect.DeepEqual(page, have) {
			if err := t.replace(c.target, after, last, page); err != nil {
				return fmt.Errorf("writing target: %w", err)
			}
		}
		c.done += int64(len(page))
		if c.progress != nil && len(page) > 0 {
			c.progress(c.done, c.all)
		}
		after = last
	}
	return nil
}

// keyOf returns the key of a row; key columns are its first ones.
func (t transfer) keyOf(row []any) []any { return row[:t.key] }

// names returns the names of the first columns, n of them.
func (t transfer) names(n int) string {
	var all []string
	for _, c := range t.columns[:n] {
		all = append(all, c.name)
	}
	return strings.Join(all, ", ")
}

// between returns the condition for rows after a key, up to and including another.
func (t transfer) between(after, last []any) (condition string, args []any) {
	condition = "1 = 1"
	if t.table == "meta" {
		condition = "key <> 'copying'"
	}
	marks := "(?" + strings.Repeat(", ?", t.key-1) + ")"
	if after != nil {
		condition += " AND (" + t.names(t.key) + ") > " + marks
	}
	if last != nil {
		condition += " AND (" + t.names(t.key) + ") <= " + marks
	}
	return condition, append(append(args, after...), last...)
}

// page reads the rows after a key, in order. It names no last key: PostgreSQL would
// read its index to the end.
func (t transfer) page(ctx context.Context, from *tables, after []any) (all [][]any, err error) {
	condition, args := t.between(after, nil)
	query := "SELECT " + t.names(len(t.columns)) + " FROM " + t.table + " WHERE " + condition + " ORDER BY " + t.names(t.key) +
		fmt.Sprint(" LIMIT ", copyPage)
	rows, err := from.db.QueryContext(ctx, from.bind(query), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()

	for rows.Next() {
		row, into := make([]any, len(t.columns)), make([]any, len(t.columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		all = append(all, row)
	}
	return all, rows.Err()
}

// replace replaces the rows between two keys with a page.
func (t transfer) replace(into *tables, after, last []any, page [][]any) error {
	return into.inTx(func(tx *sql.Tx) error {
		condition, args := t.between(after, last)
		if _, err := tx.Exec(into.bind("DELETE FROM "+t.table+" WHERE "+condition), args...); err != nil {
			return err
		}
		if len(page) == 0 {
			return nil
		}

		marks := "(?" + strings.Repeat(", ?", len(t.columns)-1) + ")"
		values := make([]any, 0, len(page)*len(t.columns))
		for _, row := range page {
			values = append(values, row...)
		}
		_, err := tx.Exec(into.bind("INSERT INTO "+t.table+" ("+t.names(len(t.columns))+") VALUES "+
			marks+strings.Repeat(", "+marks, len(page)-1)), values...)
		return err
	})
}
