-- 0014 pre: limits that engineers adopt for a series; they stand over those of the site file and survive an enrolment.

ALTER TABLE series ADD COLUMN adopted jsonb NOT NULL DEFAULT '{}';

-- Every adoption, for good: what was adopted in place of all that was adopted before.
CREATE TABLE adoption (
    adoption_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    series_id integer NOT NULL REFERENCES series,
    limits jsonb NOT NULL,
    who text NOT NULL,
    note text NOT NULL,
    "at" timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX adoption_by_series ON adoption (series_id, adoption_id);

DO $$
BEGIN
    GRANT UPDATE (adopted) ON series TO towntwin_gateway;
    GRANT SELECT, INSERT ON adoption TO towntwin_gateway;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;
