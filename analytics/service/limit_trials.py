"""Judges a time range of a series with the limits in force and with trial limits, and compares the two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analytics.core.baseline import WARM_UP_READINGS
from analytics.core.parameters import DEFAULTS
from analytics.quality import default_limits
from analytics.service import backtest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from analytics.service.backtest import JudgedHistory, SeriesHistory
    from ingest_service.storage.contract.models import Anomaly, Series
    from ingest_service.storage.contract.store import Reader

DAY_S = 86_400.0
WARM_UP_S = 14 * DAY_S
MAX_TRIAL_READINGS = 2_000_000


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """The result of judging a time range with some limits."""

    limits: dict[str, float]
    readings: int
    flagged: int
    anomalies: list[Anomaly]


@dataclass(frozen=True, slots=True)
class LimitTrial:
    """The results of the limits in force and of the trial limits on the same readings."""

    now: TrialOutcome
    tried: TrialOutcome

    @property
    def gone(self) -> list[Anomaly]:
        """Anomalies under the limits in force that no anomaly under the trial limits overlaps."""
        return _without_overlapping(self.now.anomalies, self.tried.anomalies)

    @property
    def new(self) -> list[Anomaly]:
        """Anomalies under the trial limits that no anomaly under the limits in force overlaps."""
        return _without_overlapping(self.tried.anomalies, self.now.anomalies)


def try_limits(
    store: Reader,
    series: Series,
    changed: Mapping[str, float | None],
    from_s: float,
    to_s: float,
    *,
    use_compiled: bool | None = None,
) -> LimitTrial:
    """Judge a time range twice, each after a warm-up of two weeks or 100 readings; nothing is stored.

    Parameters
    ----------
    series : as it is enrolled
    changed : limits that differ from those in force
    from_s, to_s : measured in ``[from_s, to_s)``, Unix seconds [s]
    use_compiled : as of `analytics.core.judge.judge`

    Raises
    ------
    ValueError
        If a limit does not exist, limits contradict each other, or the range holds too many readings.
    StoreUnavailableError

    """
    warm_up_s = max(WARM_UP_S, WARM_UP_READINGS * series.interval_s)
    rows = store.readings(series.series_id, from_s - warm_up_s, to_s, limit=MAX_TRIAL_READINGS)
    if len(rows) == MAX_TRIAL_READINGS:
        raise ValueError(
            f"the stretch and its warm-up before it hold over {MAX_TRIAL_READINGS:,} readings: shorten it"
        )
    history = backtest.SeriesHistory(
        series=series, time_s=rows["time_us"] / 1e6, value=rows["value"].astype(np.float64)
    )
    tried = backtest.with_limits(history, changed)
    return LimitTrial(
        _judge_range(history, from_s, use_compiled=use_compiled),
        _judge_range(tried, from_s, use_compiled=use_compiled),
    )


def _judge_range(history: SeriesHistory, from_s: float, *, use_compiled: bool | None) -> TrialOutcome:
    judged: JudgedHistory = backtest.judge_history(history, use_compiled=use_compiled)
    inside = judged.time_s >= from_s
    return TrialOutcome(
        default_limits.effective_limits(history.series),
        int(inside.sum()),
        int((judged.flagged & inside).sum()),
        [one for one in judged.anomalies if one.end_s is None or one.end_s >= from_s],
    )


def _without_overlapping(some: Sequence[Anomaly], others: Sequence[Anomaly]) -> list[Anomaly]:
    return [one for one in some if not any(_overlap(one, other) for other in others)]


def _overlap(a: Anomaly, b: Anomaly) -> bool:
    return (b.end_s is None or a.start_s <= b.end_s) and (a.end_s is None or b.start_s <= a.end_s)


@dataclass(frozen=True, slots=True)
class LimitOrigins:
    """The limits of a series by source, in order of increasing precedence, and those in force."""

    judge: dict[str, float]
    quantity: dict[str, float]
    site_file: dict[str, float]
    adopted: dict[str, float | None]
    in_force: dict[str, float]


def limit_origins(series: Series) -> LimitOrigins:
    """Return the limits of a series by source; those in force are the ones ingest uses, or the defaults."""
    judged = default_limits.usable_series([series]).series
    return LimitOrigins(
        judge=DEFAULTS,
        quantity=default_limits.default_limits(judged[0]) if judged else {},
        site_file=series.limits,
        adopted=series.adopted,
        in_force=DEFAULTS | (default_limits.effective_limits(judged[0]) if judged else {}),
    )


def series_limit_problems(series: Series) -> list[str]:
    """Return the problems of a series' enrolled limits, one sentence each."""
    return default_limits.limit_problems(series)
