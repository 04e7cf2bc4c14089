-- +goose Up

-- Warnings that were raised, each once: a limit, and the share of it that was reached. They wait for delivery while due_at is
-- not 0.
CREATE TABLE warnings (
	scope        TEXT    NOT NULL,
	id           TEXT    NOT NULL,
	unit         TEXT    NOT NULL,
	window_start INTEGER NOT NULL,
	amount       INTEGER NOT NULL, -- of the limit
	threshold    INTEGER NOT NULL, -- in percent
	used         INTEGER NOT NULL, -- when it was raised
	raised_at    INTEGER NOT NULL,
	attempts     INTEGER NOT NULL, -- to deliver it
	due_at       INTEGER NOT NULL, -- when to try next; 0: never
	PRIMARY KEY (scope, id, unit, window_start, amount, threshold)
) STRICT, WITHOUT ROWID;
CREATE INDEX warnings_due ON warnings (due_at) WHERE due_at > 0;
