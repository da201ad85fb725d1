-- 0012 pre: assessments of sites, links and towns by month, and what they were computed from.

-- value: of kind's own unit; class: 1 is best; of: how many there could be (items, or ranked towns).
CREATE TABLE assessment (
    assessment_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    subject text NOT NULL,
    area_id text NOT NULL REFERENCES area,
    site_id text REFERENCES site,
    link_id text REFERENCES link,
    month date NOT NULL CHECK (extract(day FROM month) = 1),
    value double precision,
    class smallint,
    target smallint,
    met boolean,
    items smallint,
    items_of smallint,
    detail jsonb NOT NULL DEFAULT '{}',
    data_from timestamptz NOT NULL,
    data_to timestamptz NOT NULL,
    readings bigint NOT NULL,
    version text NOT NULL,
    computed timestamptz NOT NULL DEFAULT now(),
    UNIQUE (kind, subject, month)
);
CREATE INDEX assessment_by_area ON assessment (area_id, month);

-- Which data a month was last computed from; fingerprint is '' where it must be computed anew.
CREATE TABLE assessed_month (
    month date PRIMARY KEY,
    fingerprint text NOT NULL,
    checked timestamptz NOT NULL DEFAULT now()
);

CREATE VIEW assessment_view AS
SELECT
    a.assessment_id, a.kind, a.subject, a.month, a.month::timestamp AT TIME ZONE 'Asia/Shanghai' AS "time", a.value,
    a.class, a.target, a.met, a.items, a.items_of, a.detail, a.data_from, a.data_to, a.readings, a.version, a.computed,
    a.area_id, a.site_id, a.link_id,
    site.kind AS site_kind, site.en AS site_en, site.zh AS site_zh, site.lon, site.lat,
    link.en AS link_en, link.zh AS link_zh,
    town.area_id AS town_id, town.en AS town_en, town.zh AS town_zh,
    county.area_id AS county_id, county.en AS county_en, county.zh AS county_zh,
    city.area_id AS city_id, city.en AS city_en, city.zh AS city_zh
FROM assessment AS a
JOIN area AS town ON town.area_id = a.area_id
LEFT JOIN area AS county ON county.area_id = town.parent
LEFT JOIN area AS city ON city.area_id = county.parent
LEFT JOIN site ON site.site_id = a.site_id
LEFT JOIN link ON link.link_id = a.link_id;

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE, DELETE ON assessment, assessed_month TO towntwin_analytics;
    GRANT SELECT ON rollup_1h_view TO towntwin_analytics;
    GRANT SELECT ON assessment TO towntwin_gateway;
    GRANT SELECT ON assessment_view TO towntwin_gateway, towntwin_grafana;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;
