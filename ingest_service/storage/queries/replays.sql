-- readings_between: How many readings some series have that were measured in a closed stretch of time.
SELECT count(*)
FROM reading
WHERE series_id = ANY (%(series_ids)s::int[])
    AND "time" BETWEEN to_timestamp(%(from_s)s::float8) AND to_timestamp(%(to_s)s::float8);
