-- +goose Up

-- What an operator says of a token, and what it has used.
ALTER TABLE tokens ADD COLUMN label TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN disabled INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN calls_limit INTEGER; -- in force instead of the token's own; NULL: the token's own is
ALTER TABLE tokens ADD COLUMN last_seen INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN calls INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN succeeded INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN client_errors INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN provider_errors INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN bytes_in INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN bytes_out INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN duration_us INTEGER NOT NULL DEFAULT 0;

-- Tokens that are taken back: those of a scope that were issued before a time.
CREATE TABLE revocations (
	scope   TEXT    NOT NULL, -- token, subject, issuer or all
	issuer  TEXT    NOT NULL, -- empty for all
	id      TEXT    NOT NULL, -- of the token or the subject
	before  INTEGER NOT NULL,
	made_at INTEGER NOT NULL,
	PRIMARY KEY (scope, issuer, id)
) STRICT, WITHOUT ROWID;

-- What was used by day, for reports. A day starts at 00:00 UTC.
CREATE TABLE usage (
	day             INTEGER NOT NULL,
	provider        TEXT    NOT NULL,
	issuer          TEXT    NOT NULL,
	subject         TEXT    NOT NULL,
	calls           INTEGER NOT NULL,
	succeeded       INTEGER NOT NULL,
	client_errors   INTEGER NOT NULL,
	provider_errors INTEGER NOT NULL,
	bytes_in        INTEGER NOT NULL,
	bytes_out       INTEGER NOT NULL,
	duration_us     INTEGER NOT NULL,
	PRIMARY KEY (day, provider, issuer, subject)
) STRICT, WITHOUT ROWID;
