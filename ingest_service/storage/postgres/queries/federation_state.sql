-- federation_rollups_due: Ranges of some series whose quarters of an hour are over and rolled up, oldest first.
-- Bounds of the quarters that can be sent, and the end of the whole range, which stays due from there.
WITH due AS (
    SELECT due_id, series_id, noted, until, date_bin('15 minutes', since, '2000-01-01Z') AS first,
        least(date_bin('15 minutes', until - interval '1 microsecond', '2000-01-01Z') + interval '15 minutes',
            date_bin('15 minutes', now(), '2000-01-01Z')) AS ready
    FROM federation_due WHERE series_id = ANY (%(series_ids)s::int[])
)
SELECT due_id, series_id, (extract(epoch FROM first) * 1000000)::bigint AS since_us,
    (extract(epoch FROM ready) * 1000000)::bigint AS ready_us, (extract(epoch FROM until) * 1000000)::bigint AS until_us
FROM due WHERE first < ready AND NOT EXISTS (
    SELECT FROM rollup_due AS r WHERE r.series_id = due.series_id AND r.since < due.ready AND r.until > due.first
)
ORDER BY noted, due_id LIMIT %(limit)s;

-- federation_rollups: Rollups over 15 min of ranges of series.
SELECT r.series_id, (extract(epoch FROM r.bucket) * 1000000)::bigint AS bucket_us, r.count, r.good, r.min, r.max, r.total,
    r.judged, r.expected, r.spread, r.flagged, r.weight, r.weighted
FROM unnest(%s::int[], %s::bigint[], %s::bigint[]) AS n (series_id, since_us, until_us)
JOIN rollup_15min AS r ON r.series_id = n.series_id
    AND r.bucket >= 'epoch'::timestamptz + n.since_us * interval '1 microsecond'
    AND r.bucket < 'epoch'::timestamptz + n.until_us * interval '1 microsecond'
ORDER BY r.series_id, r.bucket LIMIT %s;

-- store_federated_rollups: Insert rollups of a series of a town, or replace them if they are of the newest block.
INSERT INTO rollup_15min AS o (series_id, bucket, count, good, min, max, total, judged, expected, spread, flagged, weight, weighted)
SELECT %(series_id)s, 'epoch'::timestamptz + n.bucket_us * interval '1 microsecond', n.count, n.good, n.min, n.max, n.total,
    n.judged, n.expected, n.spread, n.flagged, n.weight, n.weighted
FROM unnest(%(bucket_us)s::bigint[], %(count)s::int[], %(good)s::int[], %(min)s::float8[], %(max)s::float8[],
    %(total)s::float8[], %(judged)s::int[], %(expected)s::float8[], %(spread)s::float8[], %(flagged)s::float8[],
    %(weight)s::float8[], %(weighted)s::float8[])
    AS n (bucket_us, count, good, min, max, total, judged, expected, spread, flagged, weight, weighted)
ON CONFLICT (series_id, bucket) DO UPDATE SET
    (count, good, min, max, total, judged)
        = (excluded.count, excluded.good, excluded.min, excluded.max, excluded.total, excluded.judged),
    (expected, spread, flagged, weight, weighted)
        = (excluded.expected, excluded.spread, excluded.flagged, excluded.weight, excluded.weighted)
WHERE %(is_newest)s AND (o.count, o.good, o.min, o.max, o.total, o.judged, o.expected, o.spread, o.flagged, o.weight, o.weighted)
    IS DISTINCT FROM (excluded.count, excluded.good, excluded.min, excluded.max, excluded.total, excluded.judged,
    excluded.expected, excluded.spread, excluded.flagged, excluded.weight, excluded.weighted)
RETURNING (extract(epoch FROM bucket) * 1000000)::bigint;

-- note_federated_rollups: Coarser rollups of a range of a series are due.
INSERT INTO rollup_due (series_id, since, until)
VALUES (%(series_id)s, 'epoch'::timestamptz + %(since_us)s * interval '1 microsecond',
    'epoch'::timestamptz + %(until_us)s * interval '1 microsecond');

-- series_of_rollups_of_origin: Series of an origin of which only rollups are received.
SELECT s.site_id, s.quantity, s.series_id FROM series AS s JOIN site USING (site_id) WHERE site.origin = %s AND s.only_rollups;

-- store_device_health: Store the status of a device of a town, unless a newer one is stored, not of a time to come.
UPDATE device SET status = %(status)s, clock_offset_s = %(clock_offset_s)s,
    status_received = 'epoch'::timestamptz + %(received_us)s * interval '1 microsecond'
WHERE device_id = %(device_id)s AND origin = %(origin)s
    AND (status_received IS NULL
        OR status_received <= 'epoch'::timestamptz + %(received_us)s * interval '1 microsecond'
        OR status_received > now() + interval '1 day');

-- federation_months: Months with assessments, with a text that changes with any of them.
SELECT to_char(month, 'YYYY-MM'), concat_ws('/', count(*), extract(epoch FROM max(computed)), max(assessment_id))
FROM assessment GROUP BY month ORDER BY month DESC LIMIT %s;

-- forget_federated_assessments: Delete the assessments of a month that a town has no more.
DELETE FROM assessment WHERE month = %(month)s AND origin = %(origin)s AND (kind || ' ' || subject) <> ALL (%(kept)s);

-- store_federated_assessment: Insert an assessment of a town, or replace the one stored for its subject.
INSERT INTO assessment AS a (kind, subject, area_id, site_id, link_id, month, value, class, target, met, items, items_of,
    detail, data_from, data_to, readings, version, origin)
VALUES (%(kind)s, %(subject)s, %(area_id)s, %(site_id)s, NULL, %(month)s, %(value)s, %(class)s, %(target)s, %(met)s,
    %(items)s, %(items_of)s, %(detail)s, to_timestamp(%(data_from_s)s), to_timestamp(%(data_to_s)s), %(readings)s,
    %(version)s, %(origin)s)
ON CONFLICT (kind, subject, month) DO UPDATE SET value = excluded.value, class = excluded.class, target = excluded.target,
    met = excluded.met, items = excluded.items, items_of = excluded.items_of, detail = excluded.detail,
    data_from = excluded.data_from, data_to = excluded.data_to, readings = excluded.readings, version = excluded.version,
    origin = excluded.origin, computed = now()
WHERE (a.origin IS NULL OR a.origin = excluded.origin)
    AND (a.value, a.class, a.target, a.met, a.items, a.items_of, a.detail, a.data_from, a.data_to, a.readings, a.version, a.origin)
    IS DISTINCT FROM (excluded.value, excluded.class, excluded.target, excluded.met, excluded.items, excluded.items_of,
    excluded.detail, excluded.data_from, excluded.data_to, excluded.readings, excluded.version, excluded.origin);
