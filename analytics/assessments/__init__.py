"""Formulas of monthly assessments: water classes, trophic state, congestion, rates, index. Numbers only."""
