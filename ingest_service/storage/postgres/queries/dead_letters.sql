-- insert_dead_letter: Insert a dead letter once; beyond its quota it is counted, and the first bytes of the first are stored.
WITH fresh AS (  -- not a repeated delivery of a stored message; a retained message is stored once
    SELECT WHERE NOT EXISTS (SELECT FROM dead_letter WHERE digest = %(digest)s::bytea)
        AND NOT (%(retained)s AND EXISTS (
            SELECT FROM dead_letter WHERE sha256(payload) = sha256(%(payload)s::bytea) AND topic = %(topic)s))
), quota AS (
    INSERT INTO dead_letter_quota AS q (device, day, letters, bytes)
    SELECT split_part(%(topic)s, '/', 3) || '/' || split_part(%(topic)s, '/', 4),
        (to_timestamp(%(received_s)s) AT TIME ZONE 'UTC')::date, 1, %(size)s
    FROM fresh
    ON CONFLICT (device, day) DO UPDATE SET
        was_kept = q.letters < %(most_letters)s AND q.bytes + %(size)s <= %(most_bytes)s,
        letters = q.letters + (q.letters < %(most_letters)s AND q.bytes + %(size)s <= %(most_bytes)s)::int,
        bytes = q.bytes
            + CASE WHEN q.letters < %(most_letters)s AND q.bytes + %(size)s <= %(most_bytes)s THEN %(size)s ELSE 0 END,
        beyond = q.beyond + (q.letters >= %(most_letters)s OR q.bytes + %(size)s > %(most_bytes)s)::int,
        bytes_beyond = q.bytes_beyond
            + CASE WHEN q.letters < %(most_letters)s AND q.bytes + %(size)s <= %(most_bytes)s THEN 0 ELSE %(size)s END,
        first_beyond = coalesce(
            q.first_beyond,
            CASE WHEN q.letters >= %(most_letters)s OR q.bytes + %(size)s > %(most_bytes)s
                THEN substr(%(payload)s::bytea, 1, 1024) END
        )
    RETURNING was_kept
)
INSERT INTO dead_letter (received, topic, payload, content_type, properties, reason, detail, digest, retained)
SELECT to_timestamp(%(received_s)s), %(topic)s::text, %(payload)s::bytea, %(content_type)s::text, %(properties)s::jsonb,
    %(reason)s::text, %(detail)s::text, %(digest)s::bytea, %(retained)s::boolean
FROM quota WHERE was_kept
ON CONFLICT (digest) DO NOTHING;

-- dead_letters_beyond_quota: Number of today's dead letters (UTC) beyond the quotas of their devices.
SELECT coalesce(sum(beyond), 0)::bigint FROM dead_letter_quota WHERE day = (now() AT TIME ZONE 'UTC')::date;

-- exceeded_quotas: Dead-letter quotas exceeded since a day; unknown devices of an area count as one.
SELECT a.area_id, d.device_id,
    coalesce(
        (SELECT min(s.site_id) FROM channel JOIN series USING (series_id) JOIN site AS s USING (site_id)
         WHERE channel.device_id = d.device_id AND s.area_id = a.area_id),
        min(here.site_id)
    ) AS site_id,
    extract(epoch FROM q.day::timestamp)::float8 AS day_s, count(*) AS devices, sum(q.letters) AS letters,
    sum(q.beyond) AS beyond, sum(q.bytes_beyond)::bigint AS bytes_beyond
FROM dead_letter_quota AS q
JOIN area AS a ON a.area_id = split_part(q.device, '/', 1)
JOIN LATERAL (SELECT min(site_id) AS site_id FROM site WHERE site.area_id = a.area_id) AS here ON here.site_id IS NOT NULL
LEFT JOIN device AS d ON d.area_id = a.area_id AND d.device_id = split_part(q.device, '/', 2)
WHERE q.beyond > 0 AND q.day >= (to_timestamp(%(since_s)s) AT TIME ZONE 'UTC')::date
GROUP BY a.area_id, d.device_id, q.day
ORDER BY q.day, a.area_id, d.device_id;

-- delete_old_quotas: Delete the quotas of days more than 30 days ago.
DELETE FROM dead_letter_quota WHERE day < (now() AT TIME ZONE 'UTC')::date - 30;

-- update_replayed_dead_letter: Reset a dead letter whose replay failed.
UPDATE dead_letter SET state = 'waiting', replays = replays + 1, reason = %(reason)s, detail = %(detail)s
WHERE letter_id = %(letter_id)s;

-- delete_replayed_dead_letters: Delete dead letters whose readings are stored now.
DELETE FROM dead_letter WHERE letter_id = ANY (%s);

-- dead_letter_filter: The conditions of a `DeadLetterQuery`, without page and limit.
((%(ids)s::bigint[] IS NULL OR letter_id = ANY (%(ids)s)) AND (%(reason)s::text IS NULL OR reason = %(reason)s)
    AND (%(device)s::text IS NULL OR split_part(topic, '/', 4) = %(device)s)
    AND (%(areas)s::text[] IS NULL OR split_part(topic, '/', 3) = ANY (%(areas)s))
    AND (%(received_before_s)s::float8 IS NULL OR received < to_timestamp(%(received_before_s)s)));

-- count_dead_letters: Number of dead letters that match a filter.
SELECT count(*) FROM dead_letter WHERE {{dead_letter_filter}};

-- mark_for_replay: Mark dead letters for replay.
UPDATE dead_letter SET state = 'replay'
WHERE {{dead_letter_filter}};

-- purge_dead_letters: Delete dead letters.
DELETE FROM dead_letter
WHERE {{dead_letter_filter}};

-- dead_letters_to_replay: Dead letters of some areas marked for replay, oldest first; at least one, then up to a number of bytes.
SELECT letter_id, extract(epoch FROM received)::float8 AS received_s, topic, payload, length(payload) AS size_bytes,
    content_type, properties, reason, detail, state, replays, retained
FROM (
    SELECT *, sum(length(payload)) OVER (ORDER BY letter_id) AS so_far, row_number() OVER (ORDER BY letter_id) AS nth
    FROM (
        SELECT * FROM dead_letter
        WHERE state = 'replay' AND ('+' = ANY (%(areas)s) OR split_part(topic, '/', 3) = ANY (%(areas)s))
            AND (split_part(topic, '/', 5) = 'federation') = %(forwarded)s
        ORDER BY letter_id LIMIT %(limit)s
    ) AS asked
) AS counted
WHERE so_far <= %(limit_bytes)s OR nth = 1 ORDER BY letter_id;

-- dead_letters: Dead letters, newest first.
SELECT letter_id, extract(epoch FROM received)::float8 AS received_s, topic,
    CASE WHEN %(whole)s THEN payload ELSE '' END AS payload, length(payload) AS size_bytes, content_type, properties,
    reason, detail, state, replays, retained
FROM dead_letter
WHERE {{dead_letter_filter}}
    AND (%(before_id)s::bigint IS NULL OR letter_id < %(before_id)s)
ORDER BY letter_id DESC LIMIT %(limit)s;
