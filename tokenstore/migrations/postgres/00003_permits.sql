-- +goose Up

-- As in SQLite's schema 7.
ALTER TABLE tokens ADD COLUMN permits TEXT NOT NULL DEFAULT '';
