-- 0028 pre: plain names, and a quota of dead letters.

-- Names and ids hold no markup and no control characters, whoever writes them; what is stored already stays.
-- The expression is that of ingest_service/storage/names.py.

ALTER TABLE area ADD CONSTRAINT area_has_plain_names
    CHECK (area_id || en || zh !~ '[<>\u0001-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]') NOT VALID;
ALTER TABLE site ADD CONSTRAINT site_has_plain_names
    CHECK (site_id || en || zh !~ '[<>\u0001-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]') NOT VALID;
ALTER TABLE device ADD CONSTRAINT device_has_a_plain_name
    CHECK (device_id !~ '[<>\u0001-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]') NOT VALID;
ALTER TABLE node ADD CONSTRAINT node_has_plain_names
    CHECK (node_id || en || zh !~ '[<>\u0001-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]') NOT VALID;
ALTER TABLE link ADD CONSTRAINT link_has_plain_names
    CHECK (link_id || en || zh !~ '[<>\u0001-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]') NOT VALID;
ALTER TABLE api_key ADD CONSTRAINT api_key_has_a_plain_name
    CHECK (name !~ '[<>\u0001-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]') NOT VALID;

-- Dead letters of a device and day (UTC): kept are those within a quota, counted those beyond it. first_beyond: the first
-- bytes of the first of these, for finding out what is wrong; was_kept: what became of the newest letter.
CREATE TABLE dead_letter_quota (
    device text NOT NULL,
    day date NOT NULL,
    letters integer NOT NULL,
    bytes bigint NOT NULL,
    beyond integer NOT NULL DEFAULT 0,
    bytes_beyond bigint NOT NULL DEFAULT 0,
    first_beyond bytea,
    was_kept boolean NOT NULL DEFAULT true,
    PRIMARY KEY (device, day)
);
CREATE INDEX dead_letter_quota_by_day ON dead_letter_quota (day);

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE ON dead_letter_quota TO towntwin_ingest;
    GRANT SELECT, DELETE ON dead_letter_quota TO towntwin_analytics;
    GRANT SELECT ON dead_letter_quota TO towntwin_gateway;
    CALL wall('dead_letter_quota', 'split_part(device, ''/'', 1) IN (SELECT area_seen())');
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'the wall was not built: this user may not make roles or schemas; see docs/access.md';
END
$$;
