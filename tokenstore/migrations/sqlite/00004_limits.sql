-- +goose Up

-- Limits that an operator has set while the relay runs, beside those of its configuration.
CREATE TABLE limits (
	scope   TEXT    NOT NULL, -- token, subject or issuer
	id      TEXT    NOT NULL, -- of the counter that it is for; empty: of all in the scope
	per     TEXT    NOT NULL, -- day or month; empty: in all
	calls   INTEGER NOT NULL CHECK (calls >= 0),
	made_at INTEGER NOT NULL,
	PRIMARY KEY (scope, id, per)
) STRICT, WITHOUT ROWID;
