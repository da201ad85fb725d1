-- insert_rejudge: Add late readings of series: first and last time, and count.
INSERT INTO rejudge_due AS d (series_id, since, until, readings)
SELECT series_id, 'epoch'::timestamptz + first_us * interval '1 microsecond',
    'epoch'::timestamptz + last_us * interval '1 microsecond', readings
FROM unnest(%s::int[], %s::bigint[], %s::bigint[], %s::bigint[]) AS n (series_id, first_us, last_us, readings)
ON CONFLICT (series_id) DO UPDATE SET since = least(d.since, excluded.since), until = greatest(d.until, excluded.until),
    readings = d.readings + excluded.readings, due = least(d.due, now());

-- late_due: Series with late readings that are due to be judged again, longest wait first.
SELECT series_id, extract(epoch FROM since)::float8 AS since_s, extract(epoch FROM until)::float8 AS until_s, readings
FROM rejudge_due WHERE due <= now() ORDER BY due, series_id LIMIT %s;

-- lock_late: Lock the late readings of a series until the transaction ends, if none arrived since they were read.
SELECT 1 FROM rejudge_due WHERE series_id = %(series_id)s AND readings = %(readings)s AND due <= now() FOR UPDATE;

-- late_done: Delete the late readings of a series after it was judged again.
DELETE FROM rejudge_due WHERE series_id = %(series_id)s;

-- late_again: After a series was judged again, make it due once more.
UPDATE rejudge_due SET due = now() + make_interval(secs => %(again_s)s) WHERE series_id = %(series_id)s;

-- late_rest: After a series was judged again up to a time, make the rest due at once.
UPDATE rejudge_due SET since = to_timestamp(%(rest_from_s)s), due = now() WHERE series_id = %(series_id)s;
