-- +goose Up

-- The sums of usage over subjects and tokens, so that a report of a year need not read every row of it.
CREATE TABLE usage_days (
	day              INTEGER NOT NULL,
	issuer           TEXT    NOT NULL,
	provider         TEXT    NOT NULL,
	model            TEXT    NOT NULL,
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
	PRIMARY KEY (day, issuer, provider, model)
) STRICT, WITHOUT ROWID;
INSERT INTO usage_days SELECT day, issuer, provider, model,
		sum(calls), sum(succeeded), sum(client_errors), sum(provider_errors), sum(bytes_in), sum(bytes_out), sum(requests),
		sum(input), sum(cache_read), sum(cache_write), sum(cache_write_hour), sum(output), sum(reasoning), sum(audio_input),
		sum(audio_output), sum(image_input), sum(image_output), sum(milliseconds), sum(cost), sum(unmetered), sum(overrun),
		sum(duration_us)
	FROM usage GROUP BY day, issuer, provider, model;
