-- The tables of SQLite's schema 6, with what several processes need to know of each other. Times are whole seconds since
-- 1970. Texts are compared by their bytes, as in SQLite.

-- +goose Up

CREATE TABLE meta (
	key   TEXT COLLATE "C" PRIMARY KEY,
	value BIGINT NOT NULL
);

CREATE TABLE tokens (
	issuer           TEXT COLLATE "C" NOT NULL,
	id               TEXT COLLATE "C" NOT NULL,
	subject          TEXT   NOT NULL,
	provider         TEXT   NOT NULL,
	fingerprint      BYTEA  NOT NULL CHECK (length(fingerprint) = 32),
	issued_at        BIGINT NOT NULL,
	expires_at       BIGINT NOT NULL,
	first_seen       BIGINT NOT NULL,
	label            TEXT   NOT NULL DEFAULT '',
	disabled         BIGINT NOT NULL DEFAULT 0,
	calls_limit      BIGINT, -- the operator's overrides; NULL: the token's own limit is in force
	tokens_limit     BIGINT,
	nanousd_limit    BIGINT,
	claimed_calls    BIGINT, -- 0: no limit in the claims; NULL: not known
	claimed_tokens   BIGINT NOT NULL DEFAULT 0,
	claimed_nanousd  BIGINT NOT NULL DEFAULT 0,
	last_seen        BIGINT NOT NULL DEFAULT 0,
	calls            BIGINT NOT NULL DEFAULT 0,
	succeeded        BIGINT NOT NULL DEFAULT 0,
	client_errors    BIGINT NOT NULL DEFAULT 0,
	provider_errors  BIGINT NOT NULL DEFAULT 0,
	bytes_in         BIGINT NOT NULL DEFAULT 0,
	bytes_out        BIGINT NOT NULL DEFAULT 0,
	requests         BIGINT NOT NULL DEFAULT 0,
	input            BIGINT NOT NULL DEFAULT 0,
	cache_read       BIGINT NOT NULL DEFAULT 0,
	cache_write      BIGINT NOT NULL DEFAULT 0,
	cache_write_hour BIGINT NOT NULL DEFAULT 0,
	output           BIGINT NOT NULL DEFAULT 0,
	reasoning        BIGINT NOT NULL DEFAULT 0,
	audio_input      BIGINT NOT NULL DEFAULT 0,
	audio_output     BIGINT NOT NULL DEFAULT 0,
	image_input      BIGINT NOT NULL DEFAULT 0,
	image_output     BIGINT NOT NULL DEFAULT 0,
	milliseconds     BIGINT NOT NULL DEFAULT 0,
	cost             BIGINT NOT NULL DEFAULT 0,
	unmetered        BIGINT NOT NULL DEFAULT 0,
	overrun          BIGINT NOT NULL DEFAULT 0,
	duration_us      BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (issuer, id)
);

-- Rows are updated all the time: room on their pages keeps the index out of it.
CREATE TABLE counters (
	scope        TEXT COLLATE "C" NOT NULL,
	id           TEXT COLLATE "C" NOT NULL,
	unit         TEXT COLLATE "C" NOT NULL,
	window_start BIGINT NOT NULL,
	used         BIGINT NOT NULL CHECK (used >= 0),
	PRIMARY KEY (scope, id, unit, window_start)
) WITH (fillfactor = 50);

CREATE TABLE revocations (
	scope   TEXT COLLATE "C" NOT NULL,
	issuer  TEXT COLLATE "C" NOT NULL,
	id      TEXT COLLATE "C" NOT NULL,
	before  BIGINT NOT NULL,
	made_at BIGINT NOT NULL,
	PRIMARY KEY (scope, issuer, id)
);

CREATE TABLE limits (
	scope   TEXT COLLATE "C" NOT NULL,
	id      TEXT COLLATE "C" NOT NULL,
	unit    TEXT COLLATE "C" NOT NULL,
	per     TEXT COLLATE "C" NOT NULL,
	amount  BIGINT NOT NULL CHECK (amount >= 0),
	made_at BIGINT NOT NULL,
	PRIMARY KEY (scope, id, unit, per)
);

CREATE TABLE usage (
	day              BIGINT NOT NULL,
	issuer           TEXT COLLATE "C" NOT NULL,
	subject          TEXT COLLATE "C" NOT NULL,
	provider         TEXT COLLATE "C" NOT NULL,
	model            TEXT COLLATE "C" NOT NULL,
	token_id         TEXT COLLATE "C" NOT NULL,
	calls            BIGINT NOT NULL,
	succeeded        BIGINT NOT NULL,
	client_errors    BIGINT NOT NULL,
	provider_errors  BIGINT NOT NULL,
	bytes_in         BIGINT NOT NULL,
	bytes_out        BIGINT NOT NULL,
	requests         BIGINT NOT NULL,
	input            BIGINT NOT NULL,
	cache_read       BIGINT NOT NULL,
	cache_write      BIGINT NOT NULL,
	cache_write_hour BIGINT NOT NULL,
	output           BIGINT NOT NULL,
	reasoning        BIGINT NOT NULL,
	audio_input      BIGINT NOT NULL,
	audio_output     BIGINT NOT NULL,
	image_input      BIGINT NOT NULL,
	image_output     BIGINT NOT NULL,
	milliseconds     BIGINT NOT NULL,
	cost             BIGINT NOT NULL,
	unmetered        BIGINT NOT NULL,
	overrun          BIGINT NOT NULL,
	duration_us      BIGINT NOT NULL,
	PRIMARY KEY (day, issuer, subject, provider, model, token_id)
);

-- One row: the server that wrote this store, and the number of the latest change.
CREATE TABLE state (
	one      BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one),
	system   BIGINT NOT NULL, -- PostgreSQL's system identifier
	timeline BIGINT NOT NULL,
	change   BIGINT NOT NULL
);

-- The latest changes, for the other processes. Who lags too far behind reads everything again.
CREATE TABLE changes (
	n      BIGINT PRIMARY KEY,
	kind   TEXT   NOT NULL, -- token, limit, revocation, pruned or reload
	scope  TEXT   NOT NULL,
	issuer TEXT   NOT NULL,
	id     TEXT   NOT NULL,
	unit   TEXT   NOT NULL
);

-- What is counted for a minute only. A crash of the server empties these.
CREATE UNLOGGED TABLE rates (
	key    TEXT COLLATE "C" NOT NULL,
	second BIGINT NOT NULL,
	used   BIGINT NOT NULL,
	PRIMARY KEY (key, second)
);
CREATE UNLOGGED TABLE slots (
	key     TEXT COLLATE "C" NOT NULL,
	node    BIGINT NOT NULL,
	held    BIGINT NOT NULL,
	expires BIGINT NOT NULL,
	PRIMARY KEY (key, node)
);
