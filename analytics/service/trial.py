"""Judges a time range of a series with trial limits beside those in force."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analytics.core.parameters import DEFAULTS
from analytics.service import backtest
from ingest_service.pipeline import limits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from analytics.service.backtest import History, Judged
    from ingest_service.storage.model import Anomaly, Series
    from ingest_service.storage.store import Reader

DAY_S = 86_400.0
WARM_UP_S = 14 * DAY_S
MOST_READINGS = 2_000_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What judging a stretch by some limits gives."""

    limits: dict[str, float]
    readings: int
    flagged: int
    anomalies: list[Anomaly]


@dataclass(frozen=True, slots=True)
class Trial:
    """The limits in force and those tried on the same readings, and what sets their anomalies apart."""

    now: Outcome
    tried: Outcome

    @property
    def gone(self) -> list[Anomaly]:
        """Anomalies of now that no tried one overlaps."""
        return _without(self.now.anomalies, self.tried.anomalies)

    @property
    def new(self) -> list[Anomaly]:
        """Tried anomalies that none of now overlaps."""
        return _without(self.tried.anomalies, self.now.anomalies)


def trial(
    store: Reader, series: Series, changed: Mapping[str, float | None], from_s: float, to_s: float
) -> Trial:
    """Judge a stretch twice, each time from two weeks before it on; nothing is stored.

    Parameters
    ----------
    series : as it is enrolled
    changed : limits that differ from those in force
    from_s, to_s : measured in ``[from_s, to_s)``, Unix seconds [s]

    Raises
    ------
    ValueError
        Where a limit does not exist, limits contradict each other, or the stretch holds too many readings.
    StoreUnavailable

    """
    rows = store.readings(series.series_id, from_s - WARM_UP_S, to_s, limit=MOST_READINGS)
    if len(rows) == MOST_READINGS:
        raise ValueError(
            f"the stretch and two weeks before it hold over {MOST_READINGS:,} readings: shorten it"
        )
    history = backtest.History(
        series=series, time_s=rows["time_us"] / 1e6, value=rows["value"].astype(np.float64)
    )
    tried = backtest.with_limits(history, changed)
    return Trial(_outcome(history, from_s), _outcome(tried, from_s))


def _outcome(history: History, from_s: float) -> Outcome:
    judged: Judged = backtest.judge(history)
    inside = judged.time_s >= from_s
    return Outcome(
        limits.applied(history.series),
        int(inside.sum()),
        int((judged.flagged & inside).sum()),
        [one for one in judged.anomalies if one.end_s is None or one.end_s >= from_s],
    )


def _without(some: Sequence[Anomaly], others: Sequence[Anomaly]) -> list[Anomaly]:
    return [one for one in some if not any(_meet(one, other) for other in others)]


def _meet(a: Anomaly, b: Anomaly) -> bool:
    return (b.end_s is None or a.start_s <= b.end_s) and (a.end_s is None or b.start_s <= a.end_s)


@dataclass(frozen=True, slots=True)
class Origins:
    """The limits of a series by where they come from; the later ones stand over the earlier."""

    judge: dict[str, float]
    quantity: dict[str, float]
    site_file: dict[str, float]
    adopted: dict[str, float | None]
    in_force: dict[str, float]


def origins(series: Series) -> Origins:
    """Where the limits of a series come from, whatever is enrolled; in force are those that ingest uses."""
    judged = limits.usable([series]).series
    return Origins(
        judge=DEFAULTS,
        quantity=limits.defaults(judged[0]) if judged else {},
        site_file=series.limits,
        adopted=series.adopted,
        in_force=DEFAULTS | (limits.applied(judged[0]) if judged else {}),
    )


def problems(series: Series) -> list[str]:
    """What is wrong with a series as it is enrolled, one sentence each."""
    return limits.problems(series)
