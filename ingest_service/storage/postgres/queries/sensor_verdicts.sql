-- anomalies_to_verify: Anomalies at nodes without a final verdict on their sensor, the newest first; not those of towns.
SELECT a.anomaly_id, v.inputs FROM anomaly AS a LEFT JOIN sensor_verdict AS v USING (anomaly_id)
WHERE a.start >= now() - make_interval(secs => %(since_s)s) AND a.state <> 'withdrawn' AND a.device_id IS NULL
    AND (v.is_final IS NULL OR NOT v.is_final)
    AND EXISTS (SELECT FROM node AS n WHERE n.site_id = a.site_id)
    AND NOT EXISTS (SELECT FROM federated_anomaly AS f WHERE f.anomaly_id = a.anomaly_id)
ORDER BY v.anomaly_id IS NOT NULL, a.start DESC, a.anomaly_id DESC LIMIT %(limit)s;

-- upsert_sensor_verdict: Insert the verdict on the sensor of an anomaly, or replace it.
INSERT INTO sensor_verdict (anomaly_id, inputs, is_final, series_id, event_probability, others)
VALUES (%(anomaly_id)s, %(inputs)s, %(is_final)s, %(series_id)s, %(event_probability)s, %(others)s)
ON CONFLICT (anomaly_id) DO UPDATE SET inputs = excluded.inputs, computed = now(), is_final = excluded.is_final,
    series_id = excluded.series_id, event_probability = excluded.event_probability, others = excluded.others;

-- sensor_verdicts: The verdicts on the sensors of some anomalies.
SELECT anomaly_id, inputs, extract(epoch FROM computed)::float8 AS computed_s, is_final, series_id, event_probability, others
FROM sensor_verdict WHERE anomaly_id = ANY (%s::bigint[]);
