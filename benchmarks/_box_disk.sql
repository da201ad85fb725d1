-- sizes: Tables with their indexes and chunks.
SELECT "table", bytes FROM table_size_view WHERE "table" = ANY (%(tables)s);

-- readings: Some series with a daily course and noise, a reading in five minutes.
INSERT INTO reading ("time", received, value, series_id, expected, spread, quality, rules)
SELECT "at", "at" + interval '2 seconds',
    round((7 + sin(n / 46.0) + 0.05 * (random() + random() + random() - 1.5))::numeric, 3),
    series_id, 7 + sin(n / 46.0), 0.05, 1, 0
FROM (
    SELECT n, series_id, timestamptz '2026-01-01 00:00+00' + n * interval '5 minutes' AS "at"
    FROM generate_series(1, %(readings)s) AS n, generate_series(1, %(series)s) AS series_id
) AS made;

-- compress: All chunks of readings.
SELECT compress_before('reading', timestamptz '2030-01-01 00:00+00', 1000);

-- size: Of the readings, with indexes and chunks.
SELECT hypertable_size('reading') AS bytes;
