-- What only TimescaleDB has; both of its editions have this.
SELECT create_hypertable('reading', 'time', chunk_time_interval => interval '7 days', create_default_indexes => false);
