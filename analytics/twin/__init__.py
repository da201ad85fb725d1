"""Network models of rivers and roads on arrays, without I/O or clock."""
