-- snapshot_and_log_end: The current snapshot, and the end of the flushed log at or after it [bytes].
SELECT {{now}}, pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint;

-- log_end: The end of the flushed log [bytes].
SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint;

-- replica_position: The position up to which a standby has replayed the log [bytes], whether it is one, of which database, and whether its readings may be read.
SELECT coalesce(pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0'), 0)::bigint, pg_is_in_recovery(),
    (SELECT system_identifier::text FROM pg_control_system()) || '.'
    || (SELECT oid::text FROM pg_database WHERE datname = current_database()),
    has_table_privilege('reading', 'SELECT');

-- has_replayed: Whether a standby has replayed the log up to a position [bytes].
SELECT pg_is_in_recovery() AND coalesce(pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0'), 0) >= %s::bigint;
