-- insert_scenario: Insert a scenario with its result.
INSERT INTO scenario (area_ids, kind, name, who, network_version, "at", computing_s, inputs, result)
VALUES (%(area_ids)s, %(kind)s, %(name)s, %(who)s, %(network_version)s, to_timestamp(%(at_s)s), %(computing_s)s,
    %(inputs)s, %(result)s)
RETURNING scenario_id, extract(epoch FROM created)::float8;

-- scenario: A scenario by its id.
SELECT scenario_id, area_ids, kind, name, who, extract(epoch FROM created)::float8 AS created_s, network_version,
    extract(epoch FROM "at")::float8 AS at_s, computing_s, inputs, result
FROM scenario WHERE scenario_id = %s;

-- scenarios: Scenarios without their results, newest first.
SELECT scenario_id, area_ids, kind, name, who, extract(epoch FROM created)::float8 AS created_s, network_version,
    extract(epoch FROM "at")::float8 AS at_s, computing_s, inputs, NULL AS result
FROM scenario WHERE (%(before)s::bigint IS NULL OR scenario_id < %(before)s::bigint)
ORDER BY scenario_id DESC LIMIT %(limit)s;

-- delete_scenarios: Delete the scenarios that were computed before a time.
DELETE FROM scenario WHERE created < to_timestamp(%s);
