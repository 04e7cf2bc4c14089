package tokenstore

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the tables up to this version. Each step is a transaction,
// so one that is interrupted is made again at the next start.
func migrate(ctx context.Context, db *sql.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	// Other code in the same binary may use goose too: share nothing with it.
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return err
	}
	have, want, err := p.GetVersions(ctx)
	if err != nil {
		return err
	}
	// goose would see nothing to do. But columns it does not know may be
	// needed for limits to hold, so an older program must not count here.
	if have > want {
		return fmt.Errorf("%w: its schema is %d, this one knows up to %d", ErrNewer, have, want)
	}
	_, err = p.Up(ctx)
	return err
}
