-- 0053 pre: the state of the networks as estimated last, for the dashboards; traces of incidents as rows; verdicts on sensors as before.

-- One row for each node and quantity that has an estimate. measured, expected, quality and measured_at are of the node's
-- newest reading; source is measured where that reading is good and fresh. deviation: standard deviation of estimated.
CREATE TABLE state_estimate (
    quantity text NOT NULL,
    node_id text NOT NULL REFERENCES node ON DELETE CASCADE,
    "at" timestamptz NOT NULL,
    source text NOT NULL CHECK (source IN ('measured', 'estimated')),
    estimated double precision NOT NULL,
    deviation double precision NOT NULL CHECK (deviation >= 0),
    measured double precision,
    expected double precision,
    quality smallint,
    measured_at timestamptz,
    PRIMARY KEY (quantity, node_id)
);
CREATE INDEX state_estimate_by_node ON state_estimate (node_id);

CREATE VIEW node_estimate_view AS
SELECT
    e.quantity, e."at", e.source, e.estimated, e.deviation, e.measured, e.expected, e.quality, e.measured_at,
    n.node_id, n.network, n.en AS node_en, n.zh AS node_zh, n.lon, n.lat, n.site_id,
    town.area_id AS town_id, town.en AS town_en, town.zh AS town_zh
FROM state_estimate AS e
JOIN node AS n USING (node_id)
JOIN area AS town USING (area_id);

-- A link has the mean of its ends; the mean of their deviations is an upper bound of its own.
CREATE VIEW link_estimate_view AS
SELECT
    k.link_id, k.network, k.en AS link_en, k.zh AS link_zh, a.quantity, a."at",
    (a.estimated + b.estimated) / 2 AS estimated, (a.deviation + b.deviation) / 2 AS deviation,
    a.node_en AS from_en, a.node_zh AS from_zh, b.node_en AS to_en, b.node_zh AS to_zh,
    a.town_id, a.town_en, a.town_zh
FROM link AS k
JOIN node_estimate_view AS a ON a.node_id = k.from_node
JOIN node_estimate_view AS b ON b.node_id = k.to_node AND b.quantity = a.quantity;

-- Possible sources of the incidents that were traced, the likeliest first.
CREATE VIEW incident_source_view AS
SELECT
    t.incident_id, t.computed, c.place, c.one ->> 'node_id' AS node_id, c.one ->> 'en' AS node_en, c.one ->> 'zh' AS node_zh,
    (c.one ->> 'probability')::double precision AS probability,
    to_timestamp((c.one ->> 'released_from_s')::double precision) AS released_from,
    to_timestamp((c.one ->> 'released_to_s')::double precision) AS released_to
FROM incident_trace AS t CROSS JOIN LATERAL jsonb_array_elements(t.posterior -> 'candidates') WITH ORDINALITY AS c (one, place);

-- When what was released arrives at the sections below: median and band of 80 %, and the share of the releases that reach them.
CREATE VIEW incident_arrival_view AS
SELECT
    t.incident_id, t.computed, a.one ->> 'node_id' AS node_id, a.one ->> 'en' AS node_en, a.one ->> 'zh' AS node_zh,
    (a.one ->> 'probability')::double precision AS probability,
    to_timestamp((a.one ->> 'arrival_s')::double precision) AS arrival,
    to_timestamp((a.one -> 'arrival_band_s' ->> 0)::double precision) AS arrival_from,
    to_timestamp((a.one -> 'arrival_band_s' ->> 1)::double precision) AS arrival_to
FROM incident_trace AS t CROSS JOIN LATERAL jsonb_array_elements(t.posterior -> 'arrivals') AS a (one);

-- What verdicts were before they changed, so that an old answer can be given again; columns as in anomaly_history.
CREATE TABLE sensor_verdict_history (
    anomaly_id bigint NOT NULL,
    event_probability double precision,
    others text[] NOT NULL,
    began xid NOT NULL,
    ended xid NOT NULL,
    replaced timestamptz NOT NULL
);
CREATE INDEX sensor_verdict_history_by_anomaly ON sensor_verdict_history (anomaly_id);

CREATE FUNCTION keep_sensor_verdict() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO sensor_verdict_history (anomaly_id, event_probability, others, began, ended, replaced)
    VALUES (OLD.anomaly_id, OLD.event_probability, OLD.others, OLD.xmin, pg_current_xact_id()::xid, clock_timestamp());
    RETURN NULL;
END
$$;
CREATE TRIGGER sensor_verdict_kept AFTER UPDATE OR DELETE ON sensor_verdict
FOR EACH ROW EXECUTE FUNCTION keep_sensor_verdict();

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE, DELETE ON state_estimate TO towntwin_analytics;
    GRANT SELECT ON state_estimate, sensor_verdict_history TO towntwin_gateway;
    GRANT SELECT ON node_estimate_view, link_estimate_view, incident_source_view, incident_arrival_view TO towntwin_gateway, towntwin_grafana;
    CALL wall('state_estimate', 'node_id IN (SELECT node_id FROM node)');
    CALL wall('sensor_verdict_history',
        'EXISTS (SELECT FROM anomaly AS a WHERE a.anomaly_id = sensor_verdict_history.anomaly_id)');
    CALL wall_views();
EXCEPTION
    WHEN insufficient_privilege OR undefined_object OR undefined_function THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;
