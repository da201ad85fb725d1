-- 0048 pre: whether what a sensor measured in an anomaly is an event or its own fault, one row for each anomaly.

-- inputs: what it was computed from; another one is computed when that changes, until is_final. event_probability: NULL where
-- it can't be computed. others: sites with which the sensor was compared.
CREATE TABLE sensor_verdict (
    anomaly_id bigint PRIMARY KEY REFERENCES anomaly,
    inputs text NOT NULL,
    computed timestamptz NOT NULL DEFAULT now(),
    is_final boolean NOT NULL,
    series_id integer REFERENCES series,
    event_probability double precision CHECK (event_probability BETWEEN 0 AND 1),
    others text[] NOT NULL DEFAULT '{}'
);

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE ON sensor_verdict TO towntwin_analytics;
    GRANT SELECT ON federated_anomaly TO towntwin_analytics;
    GRANT SELECT ON sensor_verdict TO towntwin_gateway;
    -- Administrators import networks by the gateway.
    GRANT INSERT, UPDATE ON area TO towntwin_gateway;
    GRANT INSERT, UPDATE, DELETE ON node, link TO towntwin_gateway;
    GRANT INSERT ON network_history TO towntwin_gateway;
    CALL wall('sensor_verdict', 'EXISTS (SELECT FROM anomaly AS a WHERE a.anomaly_id = sensor_verdict.anomaly_id)');
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;
