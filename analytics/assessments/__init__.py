"""Formulas of monthly assessments: water class, trophic state, congestion, data capture, town index."""
