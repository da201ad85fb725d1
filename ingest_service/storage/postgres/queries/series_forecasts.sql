-- upsert_series_forecast: Insert the newest forecast of a series that is still enrolled, or replace the one before.
INSERT INTO series_forecast (series_id, issued, times, "values", low, high)
SELECT
    %(series_id)s, to_timestamp(%(issued_s)s), ARRAY(SELECT to_timestamp(t) FROM unnest(%(times_s)s::float8[]) WITH ORDINALITY AS u (t, nth) ORDER BY nth),
    %(values)s::float8[], %(low)s::float8[], %(high)s::float8[]
WHERE EXISTS (SELECT FROM series WHERE series_id = %(series_id)s)
ON CONFLICT (series_id) DO UPDATE SET issued = excluded.issued, times = excluded.times, "values" = excluded."values",
    low = excluded.low, high = excluded.high;

-- delete_series_forecast: Delete the forecast of a series that has none any more.
DELETE FROM series_forecast WHERE series_id = %(series_id)s;

-- delete_other_forecasts: Delete the forecasts of all series but some.
DELETE FROM series_forecast WHERE series_id <> ALL (%(series_ids)s::integer[]);
