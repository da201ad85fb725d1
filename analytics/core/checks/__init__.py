"""QARTOD quality checks and those of traffic detectors: arrays in, flags of the same shape out.

Source: IOOS QARTOD manuals; PeMS for detectors. Limits rhyme: ``suspect_*`` lies inside ``fail_*``, NaN is no
limit, zero is one. A missing value is flagged MISSING and stands between nobody: its neighbours are the
values before and after it. What ends in ``_flags`` is for the judge: one value of each of many series.
Slow twins: tests/support/slow_checks.py. The same flags as ioos_qc, and where not and why:
tests/analytics/core/test_agreement_with_ioos_qc.py.
"""

from analytics.core.checks.flat_line_and_attenuated_signal import (
    FlatRun,
    attenuated_signal,
    extend_flat_run,
    flat_line,
    flat_line_flags,
    flat_window,
)
from analytics.core.checks.gap_and_stuck_clock import gap, gap_flags, stuck_clock
from analytics.core.checks.gross_range_and_climatology import (
    ClimatologyLimits,
    SeasonalLimits,
    climatology,
    gross_range,
)
from analytics.core.checks.multivariate_and_neighbour import multi_variate, neighbour
from analytics.core.checks.spike_and_rate_of_change import (
    rate_of_change,
    rate_of_change_flags,
    spike,
    spike_flags,
)
from analytics.core.checks.traffic_detector_diagnostics import (
    THRESHOLDS_BY_ROAD_TYPE,
    DetectorDiagnosis,
    DiagnosticThresholds,
    diagnose_traffic_detectors,
)

__all__ = [
    "THRESHOLDS_BY_ROAD_TYPE",
    "ClimatologyLimits",
    "DetectorDiagnosis",
    "DiagnosticThresholds",
    "FlatRun",
    "SeasonalLimits",
    "attenuated_signal",
    "climatology",
    "diagnose_traffic_detectors",
    "extend_flat_run",
    "flat_line",
    "flat_line_flags",
    "flat_window",
    "gap",
    "gap_flags",
    "gross_range",
    "multi_variate",
    "neighbour",
    "rate_of_change",
    "rate_of_change_flags",
    "spike",
    "spike_flags",
    "stuck_clock",
]
