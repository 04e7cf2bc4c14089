-- +goose Up

-- What processes hold of a counter: their leases, and what calls in flight have reserved of a budget. All else is spent.
ALTER TABLE counters ADD COLUMN unspent BIGINT NOT NULL DEFAULT 0;

-- As in SQLite's schema 7.
CREATE TABLE warnings (
	scope        TEXT COLLATE "C" NOT NULL,
	id           TEXT COLLATE "C" NOT NULL,
	unit         TEXT COLLATE "C" NOT NULL,
	window_start BIGINT NOT NULL,
	amount       BIGINT NOT NULL, -- of the limit
	threshold    BIGINT NOT NULL, -- in percent
	used         BIGINT NOT NULL, -- when it was raised
	raised_at    BIGINT NOT NULL,
	attempts     BIGINT NOT NULL, -- to deliver it
	due_at       BIGINT NOT NULL, -- when to try next; 0: never
	PRIMARY KEY (scope, id, unit, window_start, amount, threshold)
);
CREATE INDEX warnings_due ON warnings (due_at) WHERE due_at > 0;
