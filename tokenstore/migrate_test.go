package tokenstore

import (
	"database/sql"
	"testing"

	"github.com/pressly/goose/v3"
)

// Each version of each schema is one file. Two branches may have added the same one.
func TestMigrations_HaveOneFileForEachVersion(t *testing.T) {
	for _, dialect := range []goose.Dialect{goose.DialectSQLite3, goose.DialectPostgres} {
		p, err := migrations(new(sql.DB), dialect)
		if err != nil {
			t.Errorf("%s: %v", dialect, err)
			continue
		}
		for i, source := range p.ListSources() {
			if source.Version != int64(i+1) {
				t.Errorf("%s: file %d is %s, of version %d", dialect, i+1, source.Path, source.Version)
			}
		}
	}
}
