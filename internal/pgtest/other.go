//go:build !unix

package pgtest

import (
	"errors"
	"testing"
)

// Variable names the environment variable with the DSN of a server.
const Variable = "RELAYAPI_TEST_POSTGRES"

// DSN skips the test: the server is started on Unix only.
func DSN(t testing.TB) string {
	t.Helper()
	t.Skip("tests with PostgreSQL run on Unix")
	return ""
}

// Exec fails.
func Exec(dsn, statement string) error { return errors.ErrUnsupported }
