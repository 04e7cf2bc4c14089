-- +goose Up

-- What the token permits, as the caller describes it; the ledger does not read it. Empty: not known, because a version made
-- the token known that did not keep it. Its next first call after a start fills it in.
ALTER TABLE tokens ADD COLUMN permits TEXT NOT NULL DEFAULT '';
