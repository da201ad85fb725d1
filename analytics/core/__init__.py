"""Detection core: quality checks, baseline, anomaly scores and events on arrays, without I/O or clock."""
