-- take_due: Take some hours whose rollups are out of date.
DELETE FROM rollup_due WHERE ctid = ANY (
    ARRAY(SELECT ctid FROM rollup_due LIMIT %s FOR UPDATE SKIP LOCKED)
) RETURNING series_id, hour;

-- refresh_1min: Recompute the minutes of some hours.
INSERT INTO rollup_1min (series_id, bucket, count, good, min, max, mean)
SELECT r.series_id, time_bucket(interval '1 minute', r."time") AS bucket, count(*), count(*) FILTER (WHERE r.quality <= 2),
    min(r.value) FILTER (WHERE r.quality <= 2), max(r.value) FILTER (WHERE r.quality <= 2),
    avg(r.value) FILTER (WHERE r.quality <= 2)
FROM unnest(%s::int[], %s::timestamptz[]) AS due (series_id, hour)
JOIN reading_judged AS r
    ON r.series_id = due.series_id AND r."time" >= due.hour AND r."time" < due.hour + interval '1 hour'
GROUP BY 1, 2
ON CONFLICT (series_id, bucket) DO UPDATE SET count = excluded.count, good = excluded.good, min = excluded.min,
    max = excluded.max, mean = excluded.mean;

-- refresh_1h: Recompute some hours.
INSERT INTO rollup_1h (series_id, bucket, count, good, min, max, mean)
SELECT r.series_id, due.hour AS bucket, count(*), count(*) FILTER (WHERE r.quality <= 2),
    min(r.value) FILTER (WHERE r.quality <= 2), max(r.value) FILTER (WHERE r.quality <= 2),
    avg(r.value) FILTER (WHERE r.quality <= 2)
FROM unnest(%s::int[], %s::timestamptz[]) AS due (series_id, hour)
JOIN reading_judged AS r
    ON r.series_id = due.series_id AND r."time" >= due.hour AND r."time" < due.hour + interval '1 hour'
GROUP BY 1, 2
ON CONFLICT (series_id, bucket) DO UPDATE SET count = excluded.count, good = excluded.good, min = excluded.min,
    max = excluded.max, mean = excluded.mean;
