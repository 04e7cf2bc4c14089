-- +goose Up

-- The sums of usage over subjects and tokens, so that a report of a year need not read every row of it. The rows of today
-- are updated all the time: room on their pages keeps the index out of it.
CREATE TABLE usage_days (
	day              BIGINT NOT NULL,
	issuer           TEXT COLLATE "C" NOT NULL,
	provider         TEXT COLLATE "C" NOT NULL,
	model            TEXT COLLATE "C" NOT NULL,
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
	PRIMARY KEY (day, issuer, provider, model)
) WITH (fillfactor = 50);
INSERT INTO usage_days SELECT day, issuer, provider, model,
		sum(calls), sum(succeeded), sum(client_errors), sum(provider_errors), sum(bytes_in), sum(bytes_out), sum(requests),
		sum(input), sum(cache_read), sum(cache_write), sum(cache_write_hour), sum(output), sum(reasoning), sum(audio_input),
		sum(audio_output), sum(image_input), sum(image_output), sum(milliseconds), sum(cost), sum(unmetered), sum(overrun),
		sum(duration_us)
	FROM usage GROUP BY day, issuer, provider, model;
