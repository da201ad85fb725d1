-- 0063 pre: values beyond 1e30 are not good in rollups, whatever their flag: sums of them overflow.

-- As of 0010, with that bound, which is LARGEST_USABLE_VALUE of analytics.core.tick: such a value fails any gross range.
CREATE OR REPLACE VIEW reading_as_rollup AS
SELECT
    r.series_id, r."time" AS bucket, 1 AS count,
    CASE WHEN coalesce(v.quality, r.quality) <= 2 AND abs(r.value) <= 1e30 THEN 1 ELSE 0 END AS good,
    CASE WHEN coalesce(v.quality, r.quality) <= 2 AND abs(r.value) <= 1e30 THEN r.value END AS min,
    CASE WHEN coalesce(v.quality, r.quality) <= 2 AND abs(r.value) <= 1e30 THEN r.value END AS max,
    CASE WHEN coalesce(v.quality, r.quality) <= 2 AND abs(r.value) <= 1e30 THEN r.value END AS total,
    CASE WHEN r.expected <> 'NaN' AND r.spread <> 'NaN' THEN 1 ELSE 0 END AS judged,
    CASE WHEN r.expected <> 'NaN' AND r.spread <> 'NaN' THEN r.expected::double precision END AS expected,
    CASE WHEN r.expected <> 'NaN' AND r.spread <> 'NaN' THEN r.spread::double precision END AS spread,
    CASE WHEN coalesce(v.quality, r.quality) IN (3, 4) OR abs(r.value) > 1e30 THEN r.value END AS flagged,
    NULL::double precision AS weight, NULL::double precision AS weighted
FROM reading AS r
LEFT JOIN flag_revision AS v ON v.series_id = r.series_id AND v."time" = r."time";

DO $$
BEGIN
    IF to_regclass('walled.reading') IS NOT NULL THEN
        CALL wall_views();
    END IF;
END
$$;
