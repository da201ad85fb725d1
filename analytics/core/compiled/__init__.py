"""Numba-compiled version of the detection core: one pass over the readings of each series."""
