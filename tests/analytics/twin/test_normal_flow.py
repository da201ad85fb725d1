"""Compares uniform flow with a worked example of the literature and with the limit of a wide channel."""

from __future__ import annotations

import numpy as np
import pytest

from analytics.twin.normal_flow import normal_flow

FOOT_M = 0.3048


def test_the_normal_depth_of_chows_example() -> None:
    """Chow 1959, example 6-2: b = 20 ft, z = 2, n = 0.025, S = 0.0016, Q = 400 cfs: y = 3.36 ft."""
    given = (400 * FOOT_M**3, 20 * FOOT_M, 2.0, 0.025, 0.0016)
    found = normal_flow(*(np.array([one]) for one in given))
    assert found.depth_m[0] / FOOT_M == pytest.approx(3.36, abs=0.005)
    assert found.velocity_m_s[0] * found.area_m2[0] == pytest.approx(given[0], rel=1e-12)


def test_a_wide_channel_has_the_depth_of_its_discharge_a_width() -> None:
    width, slope, roughness = np.full(3, 1e5), np.full(3, 1e-4), np.full(3, 0.03)
    per_width = np.array([0.1, 1.0, 10.0])  # [m²/s]
    found = normal_flow(per_width * width, width, np.zeros(3), roughness, slope)
    np.testing.assert_allclose(found.depth_m, (per_width * roughness / np.sqrt(slope)) ** 0.6, rtol=1e-3)
