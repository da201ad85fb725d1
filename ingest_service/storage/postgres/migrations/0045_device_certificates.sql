-- 0045 pre: when certificates of devices end, so that they are renewed and watched before that.

ALTER TABLE enrolment ADD COLUMN certificate_ends timestamptz;  -- of `certificate`; NULL: issued before this migration
ALTER TABLE enrolment ADD COLUMN held_ends timestamptz;  -- of the certificate that the device collected last

DO $$
BEGIN
    GRANT UPDATE (certificate_ends, held_ends) ON enrolment TO towntwin_access;
    GRANT SELECT (certificate_ends, held_ends), UPDATE (held_ends) ON enrolment TO towntwin_gateway;
    GRANT SELECT (area_id, device_id, state, access, credential, certificate_ends, held_ends) ON enrolment
        TO towntwin_analytics;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;
