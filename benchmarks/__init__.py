"""Benchmarks of the platform, each compared with a baseline in the same run: ``make bench NAME=ingest``."""

import deploy as _deploy  # noqa: F401 - sets the number of threads of BLAS, as in the platform's processes
