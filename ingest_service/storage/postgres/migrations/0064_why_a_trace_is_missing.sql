-- 0064 pre: why the trace of an incident has no sources; NULL where it has, and of older versions.

ALTER TABLE incident_trace ADD COLUMN missing jsonb;
