-- upsert_series_forecast: Insert the newest forecast of a series that is still enrolled, or replace an own one or one that has ended.
INSERT INTO series_forecast AS o (series_id, issued, times, "values", low, high)
SELECT
    %(series_id)s, to_timestamp(%(issued_s)s), ARRAY(SELECT to_timestamp(t) FROM unnest(%(times_s)s::float8[]) WITH ORDINALITY AS u (t, nth) ORDER BY nth),
    %(values)s::float8[], %(low)s::float8[], %(high)s::float8[]
WHERE EXISTS (SELECT FROM series WHERE series_id = %(series_id)s)
ON CONFLICT (series_id) DO UPDATE SET issued = excluded.issued, times = excluded.times, "values" = excluded."values",
    low = excluded.low, high = excluded.high, origin = NULL
WHERE o.origin IS NULL OR o.times[cardinality(o.times)] <= now();

-- delete_series_forecast: Delete the own forecast of a series that has none any more.
DELETE FROM series_forecast WHERE series_id = %(series_id)s AND origin IS NULL;

-- delete_other_forecasts: Delete the own forecasts of all series but some, and forwarded ones that have ended.
DELETE FROM series_forecast WHERE CASE WHEN origin IS NULL THEN series_id <> ALL (%(series_ids)s::integer[])
    ELSE times[cardinality(times)] <= now() END;

-- series_with_forwarded_forecast: Series with a forecast of a town that has not ended.
SELECT series_id FROM series_forecast WHERE origin IS NOT NULL AND times[cardinality(times)] > now();

-- forecasts_to_forward: Forecasts of some series that have not ended.
SELECT series_id, (extract(epoch FROM issued) * 1000000)::bigint AS issued_us,
    ARRAY(SELECT (extract(epoch FROM t) * 1000000)::bigint FROM unnest(times) WITH ORDINALITY AS u (t, nth) ORDER BY nth) AS times_us,
    "values", low, high
FROM series_forecast WHERE times[cardinality(times)] > now() AND series_id = ANY (%s::int[]) ORDER BY series_id;

-- forget_forwarded_forecast: Delete the forecast of a series that a town has defined; one made here only if the town has another.
DELETE FROM series_forecast USING series AS s JOIN site USING (site_id)
WHERE series_forecast.series_id = s.series_id AND site.origin = %(origin)s AND s.site_id = %(site_id)s AND s.quantity = %(quantity)s
    AND (series_forecast.origin IS NOT NULL OR cardinality(%(times_us)s::bigint[]) > 0);

-- store_forwarded_forecast: Insert the forecast of a series that a town has defined.
INSERT INTO series_forecast (series_id, issued, times, "values", low, high, origin)
SELECT s.series_id, 'epoch'::timestamptz + %(issued_us)s * interval '1 microsecond',
    ARRAY(SELECT 'epoch'::timestamptz + t * interval '1 microsecond' FROM unnest(%(times_us)s::bigint[]) WITH ORDINALITY AS u (t, nth) ORDER BY nth),
    %(values)s::float8[], %(low)s::float8[], %(high)s::float8[], %(origin)s
FROM series AS s JOIN site USING (site_id)
WHERE site.origin = %(origin)s AND s.site_id = %(site_id)s AND s.quantity = %(quantity)s;
