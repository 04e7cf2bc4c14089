package tokenstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// sqliteDB is a database in one file, for one process.
type sqliteDB struct {
	tables
	stmts statements
	lock  *flock.Flock
	path  string
	file  os.FileInfo // the file at path when the store was opened
	log   os.FileInfo // its write-ahead log
}

// OpenSQLite opens the store at path. It makes the file, its directory and its tables
// if they are missing. It fails with [ErrLocked] while a process has the store open,
// with [ErrNewer] if a later version changed its tables, and with [ErrWorldWritable]
// if everybody may write to its file.
func OpenSQLite(ctx context.Context, path string) (*Ledger, error) {
	return openSQLite(ctx, path, time.Now)
}

func openSQLite(ctx context.Context, path string, now func() time.Time) (*Ledger, error) {
	db, err := openDB(ctx, path, now)
	if err != nil {
		return nil, err
	}
	if err := db.endClaims(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening store: %w", err), db.close())
	}
	return openLedger(db, now)
}

func openDB(ctx context.Context, path string, now func() time.Time) (_ *sqliteDB, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("opening store: %w", err)
		}
	}()

	path, err = Resolve(path)
	if err != nil {
		return nil, err
	}
	lock, err := lock(path)
	if err != nil {
		return nil, err
	}

	s := &sqliteDB{lock: lock, path: path}
	s.tables = tables{now: now, inTx: s.write, bind: func(query string) string { return query }}
	if err := protect(path); err != nil {
		return nil, errors.Join(err, s.release())
	}
	if err := s.connect(ctx, path); err != nil {
		return nil, errors.Join(noRoom(err), s.release())
	}
	return s, nil
}

// noRoom adds advice to an error that a full disk may have caused. Opening needs disk
// space, for example for the index of a log that a crash has left: 8 bytes a page.
func noRoom(cause error) error {
	var e *sqlite.Error
	if errors.As(cause, &e) && (e.Code() == sqlite3.SQLITE_FULL || e.Code() == sqlite3.SQLITE_IOERR_SHMSIZE) {
		return fmt.Errorf("%w; if the disk is full, free some space: a store needs 40 MB for its log", cause)
	}
	return cause
}

// connect opens the database and reads the state that the first call needs.
func (s *sqliteDB) connect(ctx context.Context, path string) error {
	db, err := sql.Open("sqlite", dsn(path))
	if err != nil {
		return err
	}
	// One connection, one writer. SQLite admits no second writer, and two would only
	// meet in its busy handler, which is not fair.
	db.SetMaxOpenConns(1)
	s.db = db

	// Reports have a connection of their own. On the writer's, calls would wait for
	// them.
	if s.reader, err = openReadOnly(path); err != nil {
		return err
	}
	s.reader.SetMaxOpenConns(2)

	if s.file, err = os.Stat(path); err != nil {
		return err
	}
	if err := migrate(ctx, db, goose.DialectSQLite3); err != nil {
		return err
	}
	if s.log, err = os.Stat(path + "-wal"); err != nil { // migrate wrote, so it exists
		return fmt.Errorf("looking for log: %w", err)
	}
	if err := s.born(); err != nil {
		return fmt.Errorf("reading birth: %w", err)
	}
	if err := errors.Join(s.stmts.prepare(ctx, db), s.tables.prepare(ctx)); err != nil {
		return fmt.Errorf("preparing statements: %w", err)
	}
	return nil
}

// dsn returns the name of a database and its settings: a commit has reached the disk
// when it returns, and a transaction takes the write lock when it begins, so that what
// it reads stays true while it writes.
func dsn(path string) string {
	return fileURL(path, url.Values{
		"mode":          {"rw"}, // never creates the file: protect has, with its mode
		"_journal_mode": {"WAL"},
		"_synchronous":  {"FULL"},
		"_foreign_keys": {"on"},
		"_busy_timeout": {"5000"}, // for an operator's sqlite3 shell
		"_txlock":       {"immediate"},
		"_dqs":          {"0"},
		// On macOS an ordinary fsync stops at the drive's cache. A checkpoint takes as
		// long as several commits, and calls wait for it. By default it came with every
		// few hundred commits; a log of 40 MB makes it rare.
		"_pragma": {"fullfsync(1)", "checkpoint_fullfsync(1)", "wal_autocheckpoint(10000)"},
	})
}

// fileURL returns the URL of a database file for SQLite.
func fileURL(path string, options url.Values) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // a drive letter
	}
	u := url.URL{Scheme: "file", Path: path, RawQuery: options.Encode()}
	return u.String()
}

// close moves the log into the database file and releases the lock.
func (s *sqliteDB) close() error {
	// SQLite does this by itself when the last connection closes, but it only
	// tries, and not at all while another process is reading.
	err := s.reader.Close() // it could keep the log from being removed
	_, checkpoint := s.db.Exec(`PRAGMA wal_checkpoint(TRUNCATE)`)
	return errors.Join(err, checkpoint, s.stmts.close(), s.release())
}

// release closes the database and gives up the lock.
func (s *sqliteDB) release() error {
	var err error
	for _, db := range []*sql.DB{s.reader, s.db} {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	return errors.Join(err, s.lock.Unlock())
}

// failed marks an error that casts doubt on what the disk holds. After a failed fsync
// the kernel may have dropped the pages and report success for the next one. A full
// disk is harmless: SQLite has rolled back, and the next transaction may find room.
func failed(cause error) error {
	var e *sqlite.Error
	if !errors.As(cause, &e) {
		return cause
	}
	switch e.Code() {
	case sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC:
	default:
		if kind := e.Code() & 0xff; kind != sqlite3.SQLITE_CORRUPT && kind != sqlite3.SQLITE_NOTADB {
			return cause
		}
	}
	return fmt.Errorf("%w: %w", errBroken, cause)
}

// write makes changes in one transaction, in the files that a restart would open.
func (s *sqliteDB) write(changes func(*sql.Tx) error) error {
	if err := s.present(); err != nil {
		return err
	}

	tx, err := s.db.Begin()
	if err != nil {
		return failed(fmt.Errorf("beginning transaction: %w", err))
	}
	defer tx.Rollback() // has no effect after the commit
	if err := changes(tx); err != nil {
		return failed(err)
	}
	if err := tx.Commit(); err != nil {
		return failed(fmt.Errorf("committing: %w", err))
	}

	return s.present() // otherwise the commit went to a file that no restart will open
}

// present checks that the open files are still those that a restart would open.
// SQLite would go on counting in removed files.
func (s *sqliteDB) present() error {
	info, err := os.Stat(s.path)
	if err != nil {
		return fmt.Errorf("the store is gone: %w", err)
	}

	if !os.SameFile(info, s.file) {
		return fmt.Errorf("%w: the store was replaced by another file", errBroken)
	}
	if log, err := os.Stat(s.path + "-wal"); err != nil || !os.SameFile(log, s.log) {
		return fmt.Errorf("%w: the store's log was removed or replaced", errBroken)
	}
	return nil
}

var _ backend = (*sqliteDB)(nil)
