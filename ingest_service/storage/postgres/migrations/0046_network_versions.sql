-- 0046 pre: attributes of nodes and links, and what the networks were at an earlier time.

-- valid_from: since when the row is valid; NULL for always. Columns as in ingest_service/storage/contract/models.py.
ALTER TABLE node ADD COLUMN elevation_m double precision, ADD COLUMN external_id text,
    ADD COLUMN valid_from timestamptz;
ALTER TABLE link ADD COLUMN direction text NOT NULL DEFAULT 'forward' CHECK (direction IN ('forward', 'both')),
    ADD COLUMN section_shape text CHECK (section_shape IN ('rectangular', 'trapezoidal', 'circular')),
    ADD COLUMN width_m double precision CHECK (width_m > 0),
    ADD COLUMN depth_m double precision CHECK (depth_m > 0),
    ADD COLUMN side_slope double precision CHECK (side_slope >= 0),
    ADD COLUMN manning_n double precision CHECK (manning_n > 0),
    ADD COLUMN structure text CHECK (structure IN ('sluice', 'weir', 'pump')),
    ADD COLUMN lane_capacity_veh_h double precision CHECK (lane_capacity_veh_h > 0),
    ADD COLUMN external_id text,
    ADD COLUMN valid_from timestamptz;

-- A node or link as it was from valid_from (NULL for always) until valid_to. area_ids: of the node, or of both ends.
CREATE TABLE network_history (
    feature text NOT NULL CHECK (feature IN ('node', 'link')),
    feature_id text NOT NULL,
    area_ids text[] NOT NULL CHECK (cardinality(area_ids) > 0),
    valid_from timestamptz,
    valid_to timestamptz NOT NULL CHECK (valid_from < valid_to),
    content jsonb NOT NULL,
    PRIMARY KEY (feature, feature_id, valid_to)
);

-- Assessments of a link that is no more stay.
ALTER TABLE assessment DROP CONSTRAINT assessment_link_id_fkey;

DO $$
BEGIN
    GRANT SELECT ON network_history TO towntwin_ingest, towntwin_analytics, towntwin_gateway;
    CALL wall('network_history', 'area_ids <@ ARRAY(SELECT area_seen())');
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;
