-- +goose Up

-- Limits in all units: those that the operator sets for one token (NULL: the token's own limit is in force), and those in
-- the token's claims (0: none).
ALTER TABLE tokens ADD COLUMN tokens_limit INTEGER;
ALTER TABLE tokens ADD COLUMN nanousd_limit INTEGER;
ALTER TABLE tokens ADD COLUMN claimed_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN claimed_nanousd INTEGER NOT NULL DEFAULT 0;

CREATE TABLE limits_by_unit (
	scope   TEXT    NOT NULL, -- token, subject or issuer
	id      TEXT    NOT NULL, -- of the counter; empty: every counter in the scope
	unit    TEXT    NOT NULL, -- calls, tokens or nanousd
	per     TEXT    NOT NULL, -- day or month; empty: in total
	amount  INTEGER NOT NULL CHECK (amount >= 0),
	made_at INTEGER NOT NULL,
	PRIMARY KEY (scope, id, unit, per)
) STRICT, WITHOUT ROWID;
INSERT INTO limits_by_unit SELECT scope, id, 'calls', per, calls, made_at FROM limits;
DROP TABLE limits;
ALTER TABLE limits_by_unit RENAME TO limits;

-- What the provider billed: requests, tokens of each kind, milliseconds and nano-dollars.
ALTER TABLE tokens ADD COLUMN requests INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN input INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN cache_read INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN cache_write INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN cache_write_hour INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN output INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN reasoning INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN audio_input INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN audio_output INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN image_input INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN image_output INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN milliseconds INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN cost INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN unmetered INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN overrun INTEGER NOT NULL DEFAULT 0;

-- Usage by day gets the model and the token. Rows of past months lose the token again, see the pruning.
CREATE TABLE usage_by_token (
	day              INTEGER NOT NULL, -- its first second, UTC
	issuer           TEXT    NOT NULL,
	subject          TEXT    NOT NULL,
	provider         TEXT    NOT NULL,
	model            TEXT    NOT NULL, -- empty: not known
	token_id         TEXT    NOT NULL, -- empty: all tokens of the subject
	calls            INTEGER NOT NULL,
	succeeded        INTEGER NOT NULL,
	client_errors    INTEGER NOT NULL,
	provider_errors  INTEGER NOT NULL,
	bytes_in         INTEGER NOT NULL,
	bytes_out        INTEGER NOT NULL,
	requests         INTEGER NOT NULL,
	input            INTEGER NOT NULL,
	cache_read       INTEGER NOT NULL,
	cache_write      INTEGER NOT NULL,
	cache_write_hour INTEGER NOT NULL,
	output           INTEGER NOT NULL,
	reasoning        INTEGER NOT NULL,
	audio_input      INTEGER NOT NULL,
	audio_output     INTEGER NOT NULL,
	image_input      INTEGER NOT NULL,
	image_output     INTEGER NOT NULL,
	milliseconds     INTEGER NOT NULL,
	cost             INTEGER NOT NULL,
	unmetered        INTEGER NOT NULL,
	overrun          INTEGER NOT NULL,
	duration_us      INTEGER NOT NULL,
	PRIMARY KEY (day, issuer, subject, provider, model, token_id)
) STRICT, WITHOUT ROWID;
INSERT INTO usage_by_token SELECT day, issuer, subject, provider, '', '', calls, succeeded, client_errors, provider_errors,
	bytes_in, bytes_out, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, duration_us FROM usage;
DROP TABLE usage;
ALTER TABLE usage_by_token RENAME TO usage;
