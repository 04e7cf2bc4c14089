-- +goose Up

-- The limit of calls in the token's claims; 0 means none. NULL means not known: the token was last made known by a version
-- that did not keep it. Its next first call after a start fills it in.
ALTER TABLE tokens ADD COLUMN claimed_calls INTEGER;
