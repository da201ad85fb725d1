"""Quality checks of time series after QARTOD, and of traffic detectors after PeMS, as functions on arrays.

Source: IOOS QARTOD manuals; PeMS for detectors. The checks return uint8 flags of the shape of their values.
Limits have common names: ``suspect_*`` lies inside ``fail_*``; NaN means no limit, zero is a limit. A missing
value is flagged MISSING and skipped: the values before and after it are neighbours. Functions that end in
``_flags`` are for the judge and take one value of each of many series. Slow reference implementations:
tests/support/slow_checks.py. Agreement with ioos_qc, and reasons for differences:
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
    month_and_hour,
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
    "month_and_hour",
    "multi_variate",
    "neighbour",
    "rate_of_change",
    "rate_of_change_flags",
    "spike",
    "spike_flags",
    "stuck_clock",
]
