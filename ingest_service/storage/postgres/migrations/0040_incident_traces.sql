-- 0040 pre: the posterior over the sources of an incident on the river, one for each incident.

-- inputs: what it was computed from; another one is computed when that changes. posterior: NULL if it can't be computed.
CREATE TABLE incident_trace (
    incident_id bigint PRIMARY KEY REFERENCES incident,
    inputs text NOT NULL,
    computed timestamptz NOT NULL DEFAULT now(),
    computing_s double precision NOT NULL,
    times_computed integer NOT NULL DEFAULT 1,
    posterior jsonb
);

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE ON incident_trace TO towntwin_analytics;
    GRANT SELECT ON incident_trace TO towntwin_gateway;
    CALL wall('incident_trace', 'incident_id IN (SELECT incident_id FROM incident)');
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;
