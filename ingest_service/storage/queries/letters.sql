-- insert_letter: A dead letter, whole; of a message that the broker retains, one is enough.
INSERT INTO dead_letter (received, topic, payload, content_type, properties, reason, detail, digest, retained)
SELECT to_timestamp(%(received_s)s), %(topic)s::text, %(payload)s::bytea, %(content_type)s::text, %(properties)s::jsonb,
    %(reason)s::text, %(detail)s::text, %(digest)s::bytea, %(retained)s::boolean
WHERE NOT (%(retained)s AND EXISTS (
    SELECT FROM dead_letter WHERE sha256(payload) = sha256(%(payload)s::bytea) AND topic = %(topic)s))
ON CONFLICT (digest) DO NOTHING;

-- letter_again: A letter that was replayed in vain.
UPDATE dead_letter SET state = 'waiting', replays = replays + 1, reason = %(reason)s, detail = %(detail)s
WHERE letter_id = %(letter_id)s;

-- letters_done: Letters whose readings are stored now.
DELETE FROM dead_letter WHERE letter_id = ANY (%s);

-- letter_filter: What a `LetterQuery` names, but for its page and limit.
((%(ids)s::bigint[] IS NULL OR letter_id = ANY (%(ids)s)) AND (%(reason)s::text IS NULL OR reason = %(reason)s)
    AND (%(device)s::text IS NULL OR split_part(topic, '/', 4) = %(device)s)
    AND (%(areas)s::text[] IS NULL OR split_part(topic, '/', 3) = ANY (%(areas)s))
    AND (%(received_before_s)s::float8 IS NULL OR received < to_timestamp(%(received_before_s)s)));

-- count_letters: How many letters a filter finds.
SELECT count(*) FROM dead_letter WHERE {{letter_filter}};

-- ask_replay: Ask for letters to be replayed.
UPDATE dead_letter SET state = 'replay'
WHERE {{letter_filter}};

-- purge_letters: Delete letters for good.
DELETE FROM dead_letter
WHERE {{letter_filter}};

-- letters_to_replay: Letters asked for, of some areas, oldest first; one at least, then no more than so many bytes.
SELECT letter_id, extract(epoch FROM received)::float8 AS received_s, topic, payload, length(payload) AS size_bytes,
    content_type, properties, reason, detail, state, replays, retained
FROM (
    SELECT *, sum(length(payload)) OVER (ORDER BY letter_id) AS so_far, row_number() OVER (ORDER BY letter_id) AS nth
    FROM (
        SELECT * FROM dead_letter
        WHERE state = 'replay' AND ('+' = ANY (%(areas)s) OR split_part(topic, '/', 3) = ANY (%(areas)s))
        ORDER BY letter_id LIMIT %(limit)s
    ) AS asked
) AS counted
WHERE so_far <= %(limit_bytes)s OR nth = 1 ORDER BY letter_id;

-- dead_letters: Dead letters, newest first.
SELECT letter_id, extract(epoch FROM received)::float8 AS received_s, topic,
    CASE WHEN %(whole)s THEN payload ELSE '' END AS payload, length(payload) AS size_bytes, content_type, properties,
    reason, detail, state, replays, retained
FROM dead_letter
WHERE {{letter_filter}}
    AND (%(before_id)s::bigint IS NULL OR letter_id < %(before_id)s)
ORDER BY letter_id DESC LIMIT %(limit)s;
