-- 0055 pre: messages of towns that forward by HTTPS, from the gateway to the receiver (decision 0104).

-- County: the gateway inserts, the receiver stores in the order of inbox_id and then empties the payload. A row is kept
-- for some time with what became of the message, so that a repeat has its receipt at once.
CREATE TABLE federation_inbox (
    inbox_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device_id text NOT NULL REFERENCES device,
    area_id text NOT NULL,
    epoch text NOT NULL,
    number bigint NOT NULL,
    payload bytea NOT NULL,
    received timestamptz NOT NULL DEFAULT clock_timestamp(),
    stored timestamptz,
    reason text,  -- of a refusal, as in its dead letter
    detail text,
    UNIQUE (device_id, epoch, number)
);
CREATE INDEX federation_inbox_waiting ON federation_inbox (inbox_id) WHERE stored IS NULL;
CREATE INDEX federation_inbox_stored ON federation_inbox (stored) WHERE stored IS NOT NULL;

DO $$
BEGIN
    GRANT SELECT, INSERT ON federation_inbox TO towntwin_gateway;
    GRANT SELECT, UPDATE, DELETE ON federation_inbox TO towntwin_ingest;
    CALL wall('federation_inbox', 'area_id IN (SELECT area_seen())');
EXCEPTION
    WHEN insufficient_privilege OR undefined_object OR undefined_function THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;
