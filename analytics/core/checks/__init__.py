"""QARTOD quality checks and those of traffic detectors: arrays in, flags of the same shape out.

Source: IOOS QARTOD manuals; PeMS for detectors. Limits rhyme: ``suspect_*`` lies inside ``fail_*``, NaN is no
limit, zero is one. A missing value is flagged MISSING and stands between nobody: its neighbours are the
values before and after it. What ends in ``_flags`` is for the judge: one value of each of many series.
Slow twins: tests/support/naive.py. The same flags as ioos_qc, and where not and why:
tests/analytics/core/test_ioos.py.
"""

from analytics.core.checks.company import multi_variate, neighbour
from analytics.core.checks.diagnosis import SETTINGS, Diagnosis, Thresholds, diagnose
from analytics.core.checks.level import Climate, Season, climatology, gross_range
from analytics.core.checks.motion import rate_flags, rate_of_change, spike, spike_flags
from analytics.core.checks.stillness import (
    Run,
    attenuated_signal,
    flat_flags,
    flat_line,
    flat_run,
    flat_window,
)
from analytics.core.checks.timing import gap, gap_flags, stuck_clock

__all__ = [
    "SETTINGS",
    "Climate",
    "Diagnosis",
    "Run",
    "Season",
    "Thresholds",
    "attenuated_signal",
    "climatology",
    "diagnose",
    "flat_flags",
    "flat_line",
    "flat_run",
    "flat_window",
    "gap",
    "gap_flags",
    "gross_range",
    "multi_variate",
    "neighbour",
    "rate_flags",
    "rate_of_change",
    "spike",
    "spike_flags",
    "stuck_clock",
]
