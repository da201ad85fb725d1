-- 0020 pre: up to which revision all anomalies are committed, so that followers of revisions miss none; hashes may be renewed.

-- A transaction draws its revisions long before it commits, and others that drew later may commit earlier. So each
-- announces before its first draw, by a shared advisory lock, that revisions above the newest one drawn so far may
-- still come. The lock ends with the transaction, after its rows can be seen. Transaction ids would do as well within
-- one server, but begin anew after a restore, and any long transaction would hold all followers up
-- (docs/decisions/0020).
CREATE FUNCTION announce_revisions() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    drawn bigint;
BEGIN
    IF coalesce(current_setting('towntwin.revisions_announced', true), '') = '' THEN
        SELECT CASE WHEN is_called THEN last_value ELSE 0 END INTO drawn FROM anomaly_revision;
        PERFORM pg_advisory_xact_lock_shared(  -- a key is a signed number of 32 bits
            hashtext('towntwin revisions'), (((drawn + 2147483648) & 4294967295) - 2147483648)::integer);
        PERFORM set_config('towntwin.revisions_announced', 'yes', true);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER revisions_announced BEFORE INSERT OR UPDATE ON anomaly
    FOR EACH STATEMENT EXECUTE FUNCTION announce_revisions();

-- The newest revision that was ever drawn; it grows until the database is restored from an older backup.
CREATE FUNCTION drawn_revision() RETURNS bigint LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM anomaly_revision
$$;

-- Revisions up to this one are committed or given up. To be called in a statement of its own: only a statement that
-- begins after it is sure to see them. The sequence is read before the locks: who announces later draws later.
CREATE FUNCTION settled_revision() RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    drawn bigint := drawn_revision();
    pending bigint;  -- how many of the newest revisions may still come
BEGIN
    SELECT max((drawn - objid::bigint) & 4294967295) INTO pending FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 2
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND classid::bigint = hashtext('towntwin revisions')::bigint & 4294967295
        AND (drawn - objid::bigint) & 4294967295 < 2147483648;  -- the rest was announced after the sequence was read
    RETURN drawn - coalesce(pending, 0);
END
$$;

DO $$
BEGIN
    GRANT UPDATE (hash) ON api_key TO towntwin_gateway;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;
