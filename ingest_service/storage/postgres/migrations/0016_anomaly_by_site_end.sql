-- 0016 pre: an index that serves behind the wall, too: PostgreSQL does not take COALESCE for something that keeps secrets.

DROP INDEX anomaly_by_site_end;
CREATE INDEX anomaly_by_site_end ON anomaly (site_id, (CASE WHEN "end" IS NULL THEN 'infinity' ELSE "end" END));
