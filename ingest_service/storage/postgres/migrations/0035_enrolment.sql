-- 0035 pre: enrolment of devices: codes for technicians, proposals of devices, and their access to the broker.

CREATE TABLE enrolment_code (
    code_id text PRIMARY KEY CHECK (code_id ~ '^[0-9a-f]{12}$'),
    hash text NOT NULL,  -- SHA-256 of the secret
    area_id text NOT NULL REFERENCES area,
    devices integer NOT NULL CHECK (devices BETWEEN 1 AND 1000),
    proposals integer NOT NULL DEFAULT 0 CHECK (proposals <= devices),
    created timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    expires timestamptz NOT NULL,
    revoked timestamptz
);

CREATE TABLE enrolment (
    enrolment_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code_id text REFERENCES enrolment_code,  -- NULL: from a file
    area_id text NOT NULL REFERENCES area,
    device_id text NOT NULL CHECK (device_id ~ '^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$'),
    state text NOT NULL DEFAULT 'proposed' CHECK (state IN ('proposed', 'confirmed', 'rejected', 'revoked')),
    credential text NOT NULL CHECK (credential IN ('password', 'certificate')),
    token_hash text,  -- SHA-256 of the device's token
    request text,  -- certificate signing request, PEM
    certificate text,  -- PEM
    password text,  -- from its delivery by the device until the broker has it
    channels jsonb NOT NULL DEFAULT '[]',
    agent text NOT NULL DEFAULT '',
    address text NOT NULL DEFAULT '',
    proposed timestamptz NOT NULL DEFAULT now(),
    decided timestamptz,
    decided_by text,
    note text NOT NULL DEFAULT '',
    access text NOT NULL DEFAULT 'none' CHECK (access IN ('none', 'pending', 'granted', 'withdrawn')),
    access_error text NOT NULL DEFAULT '',
    CHECK (password IS NULL OR access = 'pending')
);
CREATE UNIQUE INDEX enrolment_of_device ON enrolment (device_id) WHERE state IN ('proposed', 'confirmed');
CREATE INDEX enrolment_pending ON enrolment (enrolment_id) WHERE access = 'pending';

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'towntwin_access') THEN
        CREATE ROLE towntwin_access NOLOGIN;  -- of the process that passes the access of devices on to the broker
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO towntwin_access', current_schema());
    IF to_regclass('schema_migration') IS NOT NULL THEN
        GRANT SELECT ON schema_migration TO towntwin_access;
    END IF;
    GRANT SELECT, UPDATE (access, access_error, password, certificate) ON enrolment TO towntwin_access;
    GRANT SELECT, INSERT, UPDATE (proposals, revoked) ON enrolment_code TO towntwin_gateway;
    -- The gateway writes passwords, and can't read them.
    GRANT SELECT (enrolment_id, code_id, area_id, device_id, state, credential, token_hash, request, certificate, channels,
            agent, address, proposed, decided, decided_by, note, access, access_error),
        INSERT, DELETE, UPDATE (state, password, decided, decided_by, note, access, access_error)
        ON enrolment TO towntwin_gateway;
    GRANT INSERT, UPDATE (area_id, kind) ON device TO towntwin_gateway;
    GRANT INSERT, UPDATE (area_id, kind, en, zh, lon, lat, external_id, grid_cell, target_class, demo)
        ON site TO towntwin_gateway;
    GRANT INSERT, UPDATE (interval_s, limits) ON series TO towntwin_gateway;
    GRANT INSERT, UPDATE (series_id) ON channel TO towntwin_gateway;
    CALL wall('enrolment_code', 'false');
    CALL wall('enrolment', 'false');
EXCEPTION
    WHEN insufficient_privilege OR undefined_object OR undefined_function THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;
