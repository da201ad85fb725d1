"""The judge compiled by Numba: one pass over the readings of a series."""
