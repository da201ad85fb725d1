"""Judges complete histories of readings, one series at a time, and compares the result with labels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from analytics.core import evaluation
from analytics.core import judge as core
from analytics.core.flags import Flag
from analytics.core.parameters import ALARM_BUDGET, DEFAULTS, parameter_problems
from analytics.core.seasonal_limits import is_seasonal
from analytics.core.state import State
from analytics.quality import default_limits
from analytics.quality.anomaly_records import anomaly_from_event

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ingest_service.storage.contract.models import Anomaly, Series

    Floats = NDArray[np.float64]

MONTH_S = 30 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesHistory:
    """Readings of one series, ``(n,)`` each: strictly increasing times [s], values (NaN is missing)."""

    series: Series
    time_s: Floats
    value: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedHistory:
    """A history and its judgement, ``(n,)`` each, fields as in `analytics.core.judge.Judgement`.

    Flags revised by later readings have their revised value, as in the database's views.
    """

    series: Series
    time_s: Floats
    value: Floats
    quality: NDArray[np.uint8]
    rules: NDArray[np.uint16]
    expected: NDArray[np.float32]
    spread: NDArray[np.float32]
    score: NDArray[np.float32]
    anomalies: list[Anomaly]

    @property
    def flagged(self) -> NDArray[np.bool_]:
        """(n,) whether each reading is flagged suspect or fail."""
        return np.isin(self.quality, (Flag.SUSPECT, Flag.FAIL))

    @property
    def duration_s(self) -> float:
        """Time from the first reading to the last [s]."""
        return float(self.time_s[-1] - self.time_s[0]) if len(self.time_s) else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelWindow:
    """A label: an anomaly of a quantity at a site (None: of any) from ``start_s`` to ``end_s`` [s]."""

    site: str | None = None
    quantity: str | None = None
    start_s: float
    end_s: float

    def applies_to(self, series: Series) -> bool:
        """Whether the label covers a series."""
        return self.site in (None, series.site_id) and self.quantity in (None, series.quantity)


def make_history(series: Series, time_s: Floats, value: Floats) -> SeriesHistory:
    """Build the history of a series; its reporting interval is the median interval of the readings."""
    steps = np.diff(time_s)
    with_interval = (
        msgspec.structs.replace(series, interval_s=float(np.median(steps))) if len(steps) else series
    )
    return SeriesHistory(series=with_interval, time_s=time_s, value=value)


def with_limits(one: SeriesHistory, changed: Mapping[str, float | None]) -> SeriesHistory:
    """Return a history with some limits changed; None switches a limit off.

    Raises
    ------
    ValueError
        If there is no such limit, or limits contradict each other; it names them and the series.

    """
    for name in changed:
        if name not in DEFAULTS and name != ALARM_BUDGET and not is_seasonal(name):
            raise ValueError(parameter_problems({name: None})[0])
    series = msgspec.structs.replace(one.series, adopted=one.series.adopted | dict(changed))
    try:
        default_limits.judge_parameters([series])
    except ValueError as error:
        raise ValueError(str(error).removeprefix("series ")) from error
    return replace(one, series=series)


def judge_history(one: SeriesHistory, *, use_compiled: bool | None = None) -> JudgedHistory:
    """Judge a history from its first reading on, as live judging would have."""
    n = len(one.time_s)
    outcome = core.judge(
        State.empty(1),
        default_limits.judge_parameters([one.series]),
        np.zeros(n, np.intp),
        one.time_s,
        one.value,
        use_compiled=use_compiled,
    )
    quality, rules = outcome.quality.copy(), outcome.rules.copy()
    at = np.searchsorted(one.time_s, outcome.revised_time_s)
    quality[at], rules[at] = outcome.revised_quality, outcome.revised_rules
    return JudgedHistory(
        series=one.series,
        time_s=one.time_s,
        value=one.value,
        quality=quality,
        rules=rules,
        expected=outcome.expected,
        spread=outcome.spread,
        score=outcome.score,
        anomalies=[
            anomaly_from_event(one.series, outcome.events, i) for i in range(len(outcome.events.series))
        ],
    )


def backtest_metrics(judged: Sequence[JudgedHistory], labels: Sequence[LabelWindow]) -> dict[str, Any]:
    """Return precision, recall, F1, false alarms and delays against the labels; None for a division by 0.

    A label counts once: it is found if any series that it covers has an anomaly that overlaps it. An anomaly
    is false if no label of its own series overlaps it. Labels outside of the histories are not counted.
    """
    delays = np.concatenate(
        [np.empty(0)]
        + [
            _detection_delays(
                [one for one in judged if scope.applies_to(one.series)],
                [label for label in labels if (label.site, label.quantity) == (scope.site, scope.quantity)],
            )
            for scope in {(label.site, label.quantity): label for label in labels}.values()
        ]
    )
    n_found, n_anomalies = int(np.isfinite(delays).sum()), sum(len(one.anomalies) for one in judged)
    n_false = sum(_match_events([one], _labels_of(one, labels)).false for one in judged)
    months = sum(one.duration_s for one in judged) / MONTH_S
    precision = evaluation.ratio(n_anomalies - n_false, n_anomalies)
    recall = evaluation.ratio(n_found, len(delays))
    by_event = {"precision": precision, "recall": recall, "f1": evaluation.f1(precision, recall)}
    by_reading = evaluation.pointwise_scores(
        np.concatenate([np.empty(0, bool), *(_labelled_readings(one, labels) for one in judged)]),
        np.concatenate([np.empty(0, bool), *(one.flagged for one in judged)]),
    )
    return {
        "labels": len(delays),
        "by_event": _finite(by_event),
        "by_reading": _finite(by_reading._asdict()),
        "false_alarms": n_false,
        **_finite(
            {
                "false_alarms_per_series_month": n_false / months if months else math.nan,
                "delay_median_s": float(np.nanmedian(delays)) if n_found else math.nan,
            }
        ),
    }


def _detection_delays(judged: Sequence[JudgedHistory], labels: Sequence[LabelWindow]) -> Floats:
    """Return the delay [s] of each label of one scope that overlaps the histories; NaN if it was missed."""
    spans = [(one.time_s[0], one.time_s[-1]) for one in judged if len(one.time_s)]
    covered = [
        label
        for label in labels
        if any(label.end_s >= first and label.start_s <= last for first, last in spans)
    ]
    return _match_events(judged, covered).delay_s


def _match_events(judged: Sequence[JudgedHistory], labels: Sequence[LabelWindow]) -> evaluation.EventMatch:
    events = [anomaly for one in judged for anomaly in one.anomalies]
    return evaluation.match_events_to_windows(
        [one.start_s for one in events],
        [math.nan if one.end_s is None else one.end_s for one in events],
        [label.start_s for label in labels],
        [label.end_s for label in labels],
    )


def _labelled_readings(one: JudgedHistory, labels: Sequence[LabelWindow]) -> NDArray[np.bool_]:
    own_labels = _labels_of(one, labels)
    return evaluation.in_any_window(
        one.time_s, [label.start_s for label in own_labels], [label.end_s for label in own_labels]
    )


def _labels_of(one: JudgedHistory, labels: Sequence[LabelWindow]) -> list[LabelWindow]:
    return [label for label in labels if label.applies_to(one.series)]


def _finite(shares: Mapping[str, float]) -> dict[str, float | None]:
    return {name: round(one, 6) if math.isfinite(one) else None for name, one in shares.items()}
