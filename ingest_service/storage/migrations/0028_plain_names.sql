-- 0028 pre: names and ids hold no markup and no control characters, whoever writes them; what is stored already stays.
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
