-- All times are whole seconds since 1970, so that the tables read the same in every SQL database.

-- +goose Up

-- What a store knows of itself.
CREATE TABLE meta (
	key   TEXT    NOT NULL PRIMARY KEY,
	value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Tokens that were used here: their identity and what may be shown of them, nothing that opens anything.
CREATE TABLE tokens (
	issuer      TEXT    NOT NULL,
	id          TEXT    NOT NULL,
	subject     TEXT    NOT NULL,
	provider    TEXT    NOT NULL,
	fingerprint BLOB    NOT NULL CHECK (length(fingerprint) = 32),
	issued_at   INTEGER NOT NULL,
	expires_at  INTEGER NOT NULL,
	first_seen  INTEGER NOT NULL,
	PRIMARY KEY (issuer, id)
) STRICT, WITHOUT ROWID;

-- What is counted. A window_start of 0 is no window: the total. The limit is not here: it comes with each charge, so that
-- a changed configuration holds from the next call on.
CREATE TABLE counters (
	scope        TEXT    NOT NULL,
	id           TEXT    NOT NULL,
	unit         TEXT    NOT NULL,
	window_start INTEGER NOT NULL,
	used         INTEGER NOT NULL CHECK (used >= 0),
	PRIMARY KEY (scope, id, unit, window_start)
) STRICT, WITHOUT ROWID;
