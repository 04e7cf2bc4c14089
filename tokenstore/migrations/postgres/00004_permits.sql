-- +goose Up

-- As in SQLite's schema 9.
ALTER TABLE tokens ADD COLUMN permits TEXT NOT NULL DEFAULT '';
