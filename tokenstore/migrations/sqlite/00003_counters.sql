-- +goose Up

-- Counters get a number, by which their rows lie: one that is used again after a while gets the next one. So those in use
-- lie next to each other, on few pages, however many there are of others.
CREATE TABLE numbered (
	n            INTEGER PRIMARY KEY,
	scope        TEXT    NOT NULL,
	id           TEXT    NOT NULL,
	unit         TEXT    NOT NULL,
	window_start INTEGER NOT NULL,
	used         INTEGER NOT NULL CHECK (used >= 0),
	UNIQUE (scope, id, unit, window_start)
) STRICT;
INSERT INTO numbered (scope, id, unit, window_start, used) SELECT scope, id, unit, window_start, used FROM counters;
DROP TABLE counters;
ALTER TABLE numbered RENAME TO counters;
