-- key_insert: Insert an API key.
INSERT INTO api_key (key_id, name, hash, role, scopes, area_id, loopback, created_by, expires, team_id)
VALUES (%(key_id)s, %(name)s, %(hash)s, %(role)s, %(scopes)s, %(area_id)s, %(loopback)s, %(created_by)s,
    to_timestamp(%(expires_s)s::float8), %(team_id)s);

-- keys: API keys by id, or of some areas, newest first.
SELECT key_id, name, hash, role, scopes, area_id, loopback, extract(epoch FROM created)::float8 AS created_s, created_by,
    extract(epoch FROM expires)::float8 AS expires_s, extract(epoch FROM revoked)::float8 AS revoked_s, revoked_by,
    extract(epoch FROM last_used)::float8 AS last_used_s, team_id
FROM api_key
WHERE (%(key_id)s::text IS NULL OR key_id = %(key_id)s) AND (%(areas)s::text[] IS NULL OR area_id = ANY (%(areas)s))
ORDER BY created DESC, key_id;

-- key_revoke: Revoke an API key.
UPDATE api_key SET revoked = now(), revoked_by = %(by)s WHERE key_id = %(key_id)s AND revoked IS NULL;

-- key_renew_hash: Replace the hash of the same secret.
UPDATE api_key SET hash = %(new)s WHERE key_id = %(key_id)s AND hash = %(old)s;

-- key_used: Update the last use of an API key, to the minute.
UPDATE api_key SET last_used = now()
WHERE key_id = %s AND (last_used IS NULL OR last_used < now() - interval '1 minute');

-- audit_insert: Insert an audit entry.
INSERT INTO audit (who, name, areas, action, target, address, status, detail)
VALUES (%(who)s, %(name)s, %(areas)s, %(action)s, %(target)s, %(address)s, %(status)s, %(detail)s);

-- audit: Audit entries by filter, newest first.
SELECT audit_id, extract(epoch FROM "at")::float8 AS at_s, who, name, areas, action, target, address, status, detail
FROM audit
WHERE (%(areas)s::text[] IS NULL OR areas <@ %(areas)s) AND (%(who)s::text IS NULL OR who = %(who)s)
    AND (%(before_id)s::bigint IS NULL OR audit_id < %(before_id)s)
ORDER BY audit_id DESC LIMIT %(limit)s;

-- row_level_security_state: Whether this user may use row-level security, whether it sees all rows without it, whether scopes are signed.
SELECT EXISTS (
    SELECT FROM pg_roles WHERE rolname = 'towntwin_gateway' AND pg_has_role(current_user, oid, 'MEMBER')
) AND to_regclass('walled.reading') IS NOT NULL, NOT row_security_active('anomaly'),
    to_regprocedure('begin_wall(bytea)') IS NOT NULL;

-- register_scope_key: Set the key with which the session signs its area scopes, once.
SELECT begin_wall(%s);

-- set_area_role: Act as the gateway role with an area scope, until the end of the transaction.
SELECT set_config('role', 'towntwin_gateway', true), set_config('towntwin.area', %(area)s, true),
    set_config('towntwin.signature', %(signature)s, true),
    set_config('search_path', 'walled, ' || current_setting('search_path'), true);

-- set_area_role_in_order: Likewise, with index scans only: behind a security barrier a query is planned without its LIMIT. Never by
-- a generic plan: beside the few rows that are expected there, one that joins revisions row by row looks cheap.
SELECT set_config('role', 'towntwin_gateway', true), set_config('towntwin.area', %(area)s, true),
    set_config('towntwin.signature', %(signature)s, true),
    set_config('search_path', 'walled, ' || current_setting('search_path'), true),
    set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
    set_config('plan_cache_mode', 'force_custom_plan', true);

-- gateway_secret: The signing secret of every gateway process on this database.
SELECT secret FROM gateway_secret;
