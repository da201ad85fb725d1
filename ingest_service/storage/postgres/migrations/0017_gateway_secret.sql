-- 0017 pre: what the gateway signs cursors with: every process on this database has it, and no other installation.

CREATE TABLE gateway_secret (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    secret bytea NOT NULL CHECK (length(secret) = 32)
);
INSERT INTO gateway_secret (secret)  -- a uuid has 122 random bits
SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));

DO $$
BEGIN
    GRANT SELECT ON gateway_secret TO towntwin_gateway;
    CALL wall('gateway_secret', 'false');
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'the wall was not built: this user may not make roles or schemas; see docs/access.md';
END
$$;
