-- +goose Up

-- Tokens that are revoked when their heartbeats stop, whichever process gets them. Times are milliseconds since 1970.
CREATE TABLE heartbeats (
	issuer  TEXT COLLATE "C" NOT NULL,
	id      TEXT COLLATE "C" NOT NULL,
	until   BIGINT NOT NULL,
	claimed BIGINT NOT NULL DEFAULT 0, -- a process is revoking it until then
	revoked BOOLEAN NOT NULL DEFAULT FALSE,
	PRIMARY KEY (issuer, id)
);
CREATE INDEX heartbeats_until ON heartbeats (until) WHERE NOT revoked;
