-- adopt_limits: Set the adopted limits of a series, replacing earlier ones.
UPDATE series SET adopted = %(limits)s WHERE series_id = %(series_id)s;

-- insert_adoption: Insert an adoption: who, what and why.
INSERT INTO adoption (series_id, limits, who, note) VALUES (%(series_id)s, %(limits)s, %(who)s, %(note)s);

-- adoptions: Every adoption of a series, oldest first.
SELECT adoption_id, series_id, limits, who, note, extract(epoch FROM "at")::float8 AS at_s
FROM adoption WHERE series_id = %s ORDER BY adoption_id;
