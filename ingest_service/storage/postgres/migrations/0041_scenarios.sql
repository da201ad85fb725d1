-- 0041 pre: scenarios, what if something were changed, with their inputs and results.

-- area_ids: of all places that a scenario names, all of which a reader has to be allowed to read.
CREATE TABLE scenario (
    scenario_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    area_ids text[] NOT NULL CHECK (cardinality(area_ids) > 0),
    kind text NOT NULL CHECK (kind IN ('water', 'traffic')),
    name text NOT NULL,
    who text NOT NULL,
    created timestamptz NOT NULL DEFAULT now(),
    network_version bigint NOT NULL,
    "at" timestamptz NOT NULL,
    computing_s double precision NOT NULL,
    inputs jsonb NOT NULL,
    result jsonb NOT NULL
);

DO $$
BEGIN
    GRANT SELECT, INSERT ON scenario TO towntwin_gateway;
    CALL wall('scenario', 'area_ids <@ ARRAY(SELECT area_seen())');
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;
