package tokenstore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"path/filepath"
	"testing"
	"time"
)

// noon is what the clock of every test says.
var noon = time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)

func atNoon() time.Time { return noon }

func storePath(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "relay.db")
}

// openAt opens a store of SQLite.
func openAt(t testing.TB, path string) *Ledger {
	t.Helper()
	return onSQLite.openAt(t, path)
}

func openNew(t testing.TB) *Ledger {
	t.Helper()
	return onSQLite.openNew(t)
}

func newToken(id string) *Token {
	return &Token{
		Issuer: "acme", ID: id, Subject: "user-1", Provider: "openai",
		Fingerprint: sha256.Sum256([]byte(id)),
		IssuedAt:    noon, ExpiresAt: noon.Add(time.Hour),
	}
}

func (t *Token) calls(amount, limit int64) Charge {
	return Charge{Counter: TokenCounter(t.Issuer, t.ID), Amount: amount, Limit: limit}
}

func subjectTokens(amount, limit int64) Charge {
	return Charge{Counter: Counter{Scope: ScopeSubject, ID: "acme/user-1", Unit: UnitTokens}, Amount: amount, Limit: limit}
}

func admit(t testing.TB, s *Ledger, tok *Token, charges ...Charge) {
	t.Helper()
	if err := s.charge(context.Background(), tok, charges); err != nil {
		t.Fatalf("Admit: %v", err)
	}
}

func wantRefused(t testing.TB, s *Ledger, want error, tok *Token, charges ...Charge) {
	t.Helper()
	if err := s.charge(context.Background(), tok, charges); !errors.Is(err, want) {
		t.Fatalf("Admit: %v, want %v", err, want)
	}
}

func wantUsed(t testing.TB, s *Ledger, c Counter, want int64) {
	t.Helper()
	s.flush() // what the writer is about has been published then
	got, err := s.Used(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Fatalf("used %d of %v, want %d", got, c, want)
	}
}

// row reads what the table holds of a token; ok tells whether there is a row.
func row(t testing.TB, s *Ledger, tok *Token) (got *Token, firstSeen time.Time, ok bool) {
	t.Helper()
	got = new(Token)
	rows, err := raw(s).Query(`SELECT issuer, id, subject, provider, fingerprint, issued_at, expires_at, first_seen
		FROM tokens WHERE issuer = $1 AND id = $2`, tok.Issuer, tok.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if !rows.Next() {
		return got, firstSeen, false
	}
	var fingerprint []byte
	var issued, expires, seen int64
	err = rows.Scan(&got.Issuer, &got.ID, &got.Subject, &got.Provider, &fingerprint, &issued, &expires, &seen)
	if err != nil {
		t.Fatal(err)
	}
	copy(got.Fingerprint[:], fingerprint)
	got.IssuedAt, got.ExpiresAt = time.Unix(issued, 0).UTC(), time.Unix(expires, 0).UTC()
	return got, time.Unix(seen, 0).UTC(), true
}

// same reports whether a token has the same in it, but for what it remembers.
func (t *Token) same(as *Token) bool {
	return t.Issuer == as.Issuer && t.ID == as.ID && t.Subject == as.Subject && t.Provider == as.Provider &&
		t.Fingerprint == as.Fingerprint && t.IssuedAt.Equal(as.IssuedAt) && t.ExpiresAt.Equal(as.ExpiresAt)
}

// raw is the database under a ledger.
func raw(s *Ledger) *sql.DB {
	if p, ok := s.db.(*postgresDB); ok {
		return p.db
	}
	return s.db.(*sqliteDB).db
}

// block keeps the ledger's writer from writing until release.
func block(t testing.TB, s *Ledger) (release func()) {
	t.Helper()
	tx, err := raw(s).Begin() // SQLite has one connection only
	if err == nil {
		if _, ok := s.db.(*postgresDB); ok {
			_, err = tx.Exec(`LOCK TABLE tokens, counters`)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() { _ = tx.Rollback() }
}

// charge admits a call that takes charges only, so that a test names every limit.
func (l *Ledger) charge(ctx context.Context, t *Token, charges []Charge) error {
	_, err := l.Admit(ctx, t, Amounts{}, charges)
	return err
}
