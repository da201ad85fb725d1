"""Benchmarks of the platform, each compared with a baseline in the same run: ``make bench NAME=ingest``."""
