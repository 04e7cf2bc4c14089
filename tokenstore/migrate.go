package tokenstore

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/*/*.sql
var migrationFiles embed.FS

// migrations returns the migrations of a database.
func migrations(db *sql.DB, dialect goose.Dialect) (*goose.Provider, error) {
	dir := map[goose.Dialect]string{goose.DialectSQLite3: "migrations/sqlite", goose.DialectPostgres: "migrations/postgres"}[dialect]
	files, err := fs.Sub(migrationFiles, dir)
	if err != nil {
		return nil, err
	}

	// Other code in the same binary may use goose too: share nothing with it.
	return goose.NewProvider(dialect, db, files,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
}

// migrate brings the tables up to this version. Each step is a transaction, so an
// interrupted step is repeated at the next start.
func migrate(ctx context.Context, db *sql.DB, dialect goose.Dialect) error {
	p, err := migrations(db, dialect)
	if err != nil {
		return fmt.Errorf("preparing migrations: %w", err)
	}
	have, want, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("reading schema version: %w", err)
	}

	// goose would see nothing to do. But limits may depend on columns that this
	// program does not know, so an older program must not count here.
	if have > want {
		return fmt.Errorf("%w: its schema is %d, this program knows up to %d", ErrNewer, have, want)
	}

	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrating: %w", err)
	}
	return nil
}
