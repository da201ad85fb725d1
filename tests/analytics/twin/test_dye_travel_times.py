"""Tests leading edge and spread of a dye cloud against the traces of the USGS in a river as slow as a canal.

Roberts Creek, Iowa (D. W. Kolpin, S. J. Kalkhoff, USGS Water-Resources Investigations Report 91-4145, 1992):
a reach of 9.4 miles, 0.23 ft/s in March and 0.07 ft/s in May 1990; at its end the cloud lasted 18 h and 64 h.
The leading edge arrives at 89 % of the time of the peak (H. E. Jobson, Report 96-4013, 1996: some 90 rivers).
"""

from __future__ import annotations

import numpy as np
import pytest

from analytics.twin.channel_grid import divide_reaches
from analytics.twin.water_response import FlowHistory, ModelVariant, concentrations

REACH_M, AREA_M2, CELL_M, STEP_S = 9.4 * 1609.344, 2.0, 25.0, 1800.0
MEDIUM_M_S, LOW_M_S = 0.23 * 0.3048, 0.07 * 0.3048
EDGE_SHARE = 0.1  # of the peak: the trailing edge of the report
DISPERSIVITY_M = 37.0  # D / u that gives the 18 h of March: the one number that is calibrated


def passage_h(speed_m_s: float) -> tuple[float, float, float]:
    """Return times of leading edge, peak and trailing edge after the release [h]."""
    ends = np.array([0, 1]), np.array([1, 2])  # water flows on below the reach
    length_m, area_m2 = np.array([REACH_M, REACH_M / 4]), np.full(2, AREA_M2)
    grid = divide_reaches(3, *ends, length_m=length_m, area_m2=area_m2, cell_m=CELL_M)
    n_steps = round(2 * REACH_M / speed_m_s / STEP_S)
    flow = np.full((n_steps, len(grid.tail)), speed_m_s * AREA_M2)
    history = FlowHistory(grid, STEP_S, flow, DISPERSIVITY_M * speed_m_s)
    release = np.zeros((n_steps, 1, 1))
    release[0] = 1.0
    course = concentrations(history, ModelVariant(np.ones(2), 1.0), release, np.array([0]))[:, 1, 0]
    hours = (np.arange(n_steps) + 0.5) * STEP_S / 3600  # at the ends of steps, from the middle of the release
    above = np.flatnonzero(course >= EDGE_SHARE * course.max())
    return float(hours[above[0]]), float(hours[course.argmax()]), float(hours[above[-1]])


def test_the_cloud_of_march_has_its_peak_its_leading_edge_and_its_length() -> None:
    leading_h, peak_h, trailing_h = passage_h(MEDIUM_M_S)
    assert peak_h == pytest.approx(REACH_M / MEDIUM_M_S / 3600, rel=0.02)
    assert trailing_h - leading_h == pytest.approx(18, abs=1)
    assert leading_h / peak_h == pytest.approx(0.89, abs=0.05)


def test_the_cloud_of_may_is_predicted_by_the_dispersivity_of_march() -> None:
    leading_h, peak_h, trailing_h = passage_h(LOW_M_S)
    assert peak_h == pytest.approx(REACH_M / LOW_M_S / 3600, rel=0.02)
    assert trailing_h - leading_h == pytest.approx(64, rel=0.15)
    assert leading_h / peak_h == pytest.approx(0.89, abs=0.05)
