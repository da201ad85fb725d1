-- 0030 pre: reasons from before 0028 name no site of another area either, in the present and in the past.

-- Whether an anomaly's evidence names a site of another area than its own. In reasons the judge has called such a site
-- "a neighbouring town" since 0028.
CREATE FUNCTION pg_temp.names_another_area(anomaly_site text, evidence jsonb) RETURNS boolean LANGUAGE sql AS $$
    SELECT EXISTS (
        SELECT FROM jsonb_path_query(evidence, '$.**.site_id') AS named
        JOIN site AS other ON other.site_id = named #>> '{}'
        JOIN site AS own ON own.site_id = anomaly_site
        WHERE other.area_id <> own.area_id
    )
$$;

-- The expressions are those of gateway/redaction.py; the history is second, for the first update adds to it.
UPDATE anomaly SET
    reason_en = regexp_replace(
        reason_en, '; (?:it passed|it reaches) .+ about [0-9.]+ h (?:before|later)|; [^;]+ shows it, too',
        '; a neighbouring town shows it, too', 'g'),
    reason_zh = regexp_replace(
        reason_zh, '；约[0-9.]+小时(?:前经过|后到达)[^；]+|；[^；]+同时出现', '；邻镇亦有此现象', 'g')
WHERE evidence::text LIKE '%"site_id"%' AND strpos(reason_en, 'a neighbouring town') = 0
    AND pg_temp.names_another_area(site_id, evidence);
UPDATE anomaly_history SET
    reason_en = regexp_replace(
        reason_en, '; (?:it passed|it reaches) .+ about [0-9.]+ h (?:before|later)|; [^;]+ shows it, too',
        '; a neighbouring town shows it, too', 'g'),
    reason_zh = regexp_replace(
        reason_zh, '；约[0-9.]+小时(?:前经过|后到达)[^；]+|；[^；]+同时出现', '；邻镇亦有此现象', 'g')
WHERE evidence::text LIKE '%"site_id"%' AND strpos(reason_en, 'a neighbouring town') = 0
    AND pg_temp.names_another_area(site_id, evidence);
DROP FUNCTION pg_temp.names_another_area(text, jsonb);
