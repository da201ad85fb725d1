-- enrolment_code_insert: Insert a code.
INSERT INTO enrolment_code (code_id, hash, area_id, devices, created_by, expires)
VALUES (%(code_id)s, %(hash)s, %(area_id)s, %(devices)s, %(created_by)s, to_timestamp(%(expires_s)s::float8));

-- enrolment_codes: Codes by id, or of some areas, newest first.
SELECT code_id, hash, area_id, devices, proposals, extract(epoch FROM created)::float8 AS created_s, created_by,
    extract(epoch FROM expires)::float8 AS expires_s, extract(epoch FROM revoked)::float8 AS revoked_s
FROM enrolment_code
WHERE (%(code_id)s::text IS NULL OR code_id = %(code_id)s) AND (%(areas)s::text[] IS NULL OR area_id = ANY (%(areas)s))
ORDER BY created DESC, code_id LIMIT 1000;

-- enrolment_code_revoke: Revoke a code.
UPDATE enrolment_code SET revoked = now() WHERE code_id = %(code_id)s AND revoked IS NULL;

-- enrolment_code_use: Count a proposal of a valid code; no row where it is used up, expired or revoked.
UPDATE enrolment_code SET proposals = proposals + 1
WHERE code_id = %(code_id)s AND hash = %(hash)s AND proposals < devices AND revoked IS NULL AND expires > now();

-- enrolment_forget_old: Delete proposals that nobody decided.
DELETE FROM enrolment WHERE state = 'proposed' AND proposed < now() - interval '7 days';

-- enrolment_insert: Insert a proposal; no row where the device has one already, or is enrolled by one.
INSERT INTO enrolment (code_id, area_id, device_id, credential, token_hash, request, channels, agent, address)
VALUES (%(code_id)s, %(area_id)s, %(device_id)s, %(credential)s, %(token_hash)s, %(request)s, %(channels)s, %(agent)s,
    %(address)s)
ON CONFLICT (device_id) WHERE state IN ('proposed', 'confirmed') DO NOTHING
RETURNING enrolment_id;

-- enrolment_insert_confirmed: Insert an enrolment from a file with the device's password; no row where there is one.
INSERT INTO enrolment (area_id, device_id, state, credential, password, decided, decided_by, access)
VALUES (%(area_id)s, %(device_id)s, 'confirmed', 'password', %(password)s, now(), %(who)s, 'pending')
ON CONFLICT (device_id) WHERE state IN ('proposed', 'confirmed') DO NOTHING
RETURNING enrolment_id;

-- device_area: The area of an enrolled device.
SELECT area_id FROM device WHERE device_id = %s;

-- enrolments: Enrolments by filter, newest first.
SELECT enrolment_id, code_id, area_id, device_id, state, credential, token_hash, request, certificate,
    channels, agent, address, extract(epoch FROM proposed)::float8 AS proposed_s,
    extract(epoch FROM decided)::float8 AS decided_s, decided_by, note, access, access_error
FROM enrolment
WHERE (%(enrolment_id)s::bigint IS NULL OR enrolment_id = %(enrolment_id)s)
    AND (%(areas)s::text[] IS NULL OR area_id = ANY (%(areas)s)) AND (%(state)s::text IS NULL OR state = %(state)s)
    AND (%(device_id)s::text IS NULL OR device_id = %(device_id)s)
    AND (%(before_id)s::bigint IS NULL OR enrolment_id < %(before_id)s)
ORDER BY enrolment_id DESC LIMIT %(limit)s;

-- enrolment_decide: Move an enrolment from one state to another; no row where it is in a third.
UPDATE enrolment SET state = %(state)s, decided = now(), decided_by = %(who)s, note = %(note)s, access_error = '',
    password = NULL,
    access = CASE WHEN %(state)s = 'revoked' OR %(state)s = 'confirmed' AND credential = 'certificate'
        THEN 'pending' ELSE 'none' END
WHERE enrolment_id = %(enrolment_id)s AND state = ANY (%(from)s);

-- enrolment_password: Keep the password of a confirmed device until the broker has it.
UPDATE enrolment SET password = %(password)s, access = 'pending', access_error = ''
WHERE enrolment_id = %(enrolment_id)s AND state = 'confirmed' AND credential = 'password';

-- enrolments_pending: Enrolments whose access the broker does not have yet, oldest first.
SELECT enrolment_id, area_id, device_id, state, credential, request, password
FROM enrolment WHERE access = 'pending' ORDER BY enrolment_id LIMIT %(limit)s;

-- enrolment_granted: Record that the broker has the access of a confirmed device with the password that it had; forget that.
UPDATE enrolment SET access = 'granted', access_error = '', password = NULL, certificate = coalesce(%(certificate)s, certificate),
    certificate_ends = coalesce(to_timestamp(%(ends_s)s::float8), certificate_ends)
WHERE enrolment_id = %(enrolment_id)s AND state = 'confirmed' AND password IS NOT DISTINCT FROM %(password)s;

-- enrolment_withdrawn: Record that the broker has no access of a revoked device any more.
UPDATE enrolment SET access = 'withdrawn', access_error = '' WHERE enrolment_id = %(enrolment_id)s AND state = 'revoked';

-- enrolment_failed: Record why the access of a device is still pending.
UPDATE enrolment SET access_error = %(error)s WHERE enrolment_id = %(enrolment_id)s AND access = 'pending';

-- enrolments_granted: Devices with access, as they should be at the broker.
SELECT enrolment_id, area_id, device_id, credential FROM enrolment WHERE state = 'confirmed' AND access = 'granted';

-- enrolment_lost: Record that the broker has lost the access of a device: certificates are granted again, passwords are not known.
UPDATE enrolment SET access = CASE WHEN credential = 'certificate' THEN 'pending' ELSE 'none' END, access_error = %(error)s
WHERE enrolment_id = %(enrolment_id)s AND state = 'confirmed' AND access = 'granted';

-- enrolment_certificates_due: Devices with access whose certificate ends before a time, or is of unknown end; those that end first before the others.
SELECT enrolment_id, area_id, device_id, request, certificate FROM enrolment
WHERE state = 'confirmed' AND access = 'granted' AND credential = 'certificate' AND request IS NOT NULL AND certificate IS NOT NULL
    AND (certificate_ends IS NULL OR certificate_ends < to_timestamp(%(before_s)s::float8))
ORDER BY certificate_ends NULLS FIRST, enrolment_id LIMIT %(limit)s;

-- enrolment_renewed: Replace the certificate of a device that still has access; note the end of the one that it holds.
UPDATE enrolment SET certificate = %(certificate)s, certificate_ends = to_timestamp(%(ends_s)s::float8),
    held_ends = coalesce(held_ends, to_timestamp(%(held_ends_s)s::float8))
WHERE enrolment_id = %(enrolment_id)s AND state = 'confirmed' AND access = 'granted';

-- enrolment_collected: Record that a device has collected its newest certificate.
UPDATE enrolment SET held_ends = certificate_ends
WHERE enrolment_id = %(enrolment_id)s AND held_ends IS DISTINCT FROM certificate_ends;

-- enrolment_certificates_ending: Devices whose own certificate ends before a time.
SELECT device_id, extract(epoch FROM coalesce(held_ends, certificate_ends))::float8 AS ends_s FROM enrolment
WHERE state = 'confirmed' AND access = 'granted' AND credential = 'certificate'
    AND coalesce(held_ends, certificate_ends) < to_timestamp(%(before_s)s::float8)
ORDER BY device_id;
