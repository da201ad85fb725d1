-- security_session: The rights of the user of this connection, how passwords are stored, and whether the log is archived.
SELECT current_user::text AS user_name,
    r.rolsuper OR r.rolbypassrls AS is_unrestricted,
    current_setting('password_encryption') AS password_encryption,
    coalesce((SELECT last_archived_time > now() - interval '1 day' FROM pg_stat_archiver), false)
        OR EXISTS (
            SELECT FROM pg_replication_slots AS slot
            WHERE slot_type = 'physical'
                -- PostgreSQL 16 has no such column
                AND (active OR (to_jsonb(slot) ->> 'inactive_since')::timestamptz > now() - interval '1 day')
        ) AS has_backup,
    EXISTS (
        SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'walled' AND c.relname = 'reading'
    ) AS has_row_level_security
FROM pg_roles r
WHERE r.rolname = current_user;

-- security_unrestricted_members: Users who can log in, are members of a role of the platform, and bypass row-level security.
SELECT DISTINCT member.rolname::text
FROM pg_auth_members m
JOIN pg_roles role ON role.oid = m.roleid
JOIN pg_roles member ON member.oid = m.member
WHERE starts_with(role.rolname, 'towntwin_') AND member.rolcanlogin AND (member.rolsuper OR member.rolbypassrls)
ORDER BY 1;

-- security_grafana_rights: Rights of Grafana's roles beyond reading views, one row for each role and right, with an example.
SELECT role.rolname::text, right_name, min(c.oid::regclass::text) AS example, count(*) AS tables
FROM pg_roles role
CROSS JOIN pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS right_name
WHERE (
        role.rolname = 'towntwin_grafana' OR role.rolname = %(grafana_user)s
        OR EXISTS (
            SELECT FROM pg_auth_members m
            WHERE m.member = role.oid AND m.roleid = (SELECT oid FROM pg_roles WHERE rolname = 'towntwin_grafana')
                -- who made the role may grant it, and has none of its rights (PostgreSQL 16)
                AND pg_has_role(m.member, m.roleid, 'USAGE')
        )
    )
    AND NOT starts_with(n.nspname, 'pg_') AND n.nspname <> 'information_schema'
    AND NOT starts_with(n.nspname, '_timescaledb') AND n.nspname <> 'timescaledb_information'
    AND c.relkind IN ('r', 'p', 'v', 'm')
    AND NOT (right_name = 'SELECT' AND c.relkind IN ('v', 'm'))
    AND has_table_privilege(role.oid, c.oid, right_name)
GROUP BY role.rolname, right_name
ORDER BY role.rolname, right_name;
