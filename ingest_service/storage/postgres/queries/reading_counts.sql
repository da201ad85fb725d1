-- readings_between: Number of readings of some series measured in a closed time range.
SELECT count(*)
FROM reading
WHERE series_id = ANY (%(series_ids)s::int[])
    AND "time" BETWEEN to_timestamp(%(from_s)s::float8) AND to_timestamp(%(to_s)s::float8);
