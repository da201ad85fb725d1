-- begin_maintenance: Put series of a device into maintenance; those that are in it keep their window.
INSERT INTO maintenance (series_id, begins, ends, who, note)
SELECT DISTINCT c.series_id, now(), now() + %(minutes)s * interval '1 minute', %(who)s, %(note)s
FROM channel AS c
WHERE c.device_id = %(device_id)s AND (%(channels)s::text[] IS NULL OR c.name = ANY(%(channels)s::text[]))
    AND NOT EXISTS (SELECT FROM maintenance AS m WHERE m.series_id = c.series_id AND m.ends > now());

-- end_maintenance: End the maintenance of series of a device.
UPDATE maintenance SET ends = greatest(now(), begins + interval '1 millisecond'), ended_by = %(who)s
WHERE ends > now() AND series_id IN (
    SELECT c.series_id FROM channel AS c
    WHERE c.device_id = %(device_id)s AND (%(channels)s::text[] IS NULL OR c.name = ANY(%(channels)s::text[]))
);

-- maintenance_of: Maintenance of the series of a device, newest first.
SELECT m.maintenance_id, m.series_id, extract(epoch FROM m.begins)::float8 AS begins_s,
    extract(epoch FROM m.ends)::float8 AS ends_s, m.who, m.note, m.ended_by
FROM maintenance AS m WHERE m.series_id IN (SELECT series_id FROM channel WHERE device_id = %(device_id)s)
ORDER BY m.maintenance_id DESC LIMIT %(limit)s;

-- maintenance_windows: Windows of the last three months, in which readings are flagged also if they arrive late.
SELECT series_id, extract(epoch FROM begins)::float8, extract(epoch FROM ends)::float8
FROM maintenance WHERE ends > now() - interval '92 days' ORDER BY series_id, begins;

-- insert_calibration: Insert a calibration; one of the same series and time is kept.
INSERT INTO calibration (series_id, calibrated, reference, before, after, tolerance, who, note)
SELECT s.series_id, to_timestamp(%(calibrated_s)s), %(reference)s, %(before)s, %(after)s, %(tolerance)s, %(who)s, %(note)s
FROM series AS s WHERE s.series_id = %(series_id)s
ON CONFLICT (series_id, calibrated) DO NOTHING;

-- calibrations: Calibrations of series, those of each one oldest first.
SELECT calibration_id, series_id, extract(epoch FROM calibrated)::float8 AS calibrated_s, reference, before, after,
    tolerance, who, note
FROM calibration WHERE series_id = ANY(%s) ORDER BY series_id, calibrated;
