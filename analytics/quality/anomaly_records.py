"""Converts an event reported by the judge into the anomaly record that is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analytics.core import checks, seasonal_limits
from analytics.core.flags import Rule
from analytics.core.judge import VERSION
from analytics.core.parameters import DEFAULTS
from analytics.quality import anomaly_text, default_limits
from edge.wire.quantities import QUANTITIES
from ingest_service.storage.contract.models import Anomaly

if TYPE_CHECKING:
    from collections.abc import Mapping

    from analytics.core.events import Events
    from ingest_service.storage.contract.models import Series

DAY_S = 86_400.0
LEARNED_DAYS = 7.0  # of a series, after which its own history outweighs the priors of its quantity


def course_of_event(events: Events, i: int) -> anomaly_text.Course:
    """Return the course of the ``i``-th event."""
    has_step = bool(Rule(int(events.rules[i])) & Rule.RATE_OF_CHANGE)
    return anomaly_text.Course(
        float(events.peak_s[i] - events.start_s[i]),
        has_step,
        bool(events.began_with_step[i]),
        Rule(int(events.course[i])),
    )


def _range_at(limits: Mapping[str, float], time_s: float) -> anomaly_text.AppliedRange:
    """Return the gross range that the judge applies at a time: the strictest of all limits."""
    table = seasonal_limits.seasonal_table(limits)
    offset_s = limits.get("day_offset_s", DEFAULTS["day_offset_s"])
    month, hour = checks.month_and_hour(np.array([time_s]), offset_s)
    seasonal = dict(zip(seasonal_limits.NAMES, table[:, month[0], hour[0]].tolist(), strict=True))
    return anomaly_text.AppliedRange(
        **{
            name: float((np.fmax if name.endswith("_low") else np.fmin)(limits.get(name, np.nan), one))
            for name, one in seasonal.items()
        }
    )


def anomaly_from_event(series: Series, events: Events, i: int) -> Anomaly:
    """Build the stored anomaly of the ``i``-th event, which must belong to this series.

    While the series is new, the reasons and ``evidence["learned_days"]`` state for how long it was learned.
    """
    rule = Rule(int(events.rule[i]))
    observed, expected, spread = (
        float(column[i]) for column in (events.observed, events.expected, events.spread)
    )
    english, chinese = anomaly_text.anomaly_sentences(
        rule,
        QUANTITIES[series.quantity],
        observed=observed,
        expected=expected,
        spread=spread,
        course=course_of_event(events, i),
        applied_range=_range_at(default_limits.effective_limits(series), float(events.peak_s[i])),
    )
    learned_days = float(events.start_s[i] - events.since_s[i]) / DAY_S
    is_learning = learned_days < LEARNED_DAYS
    if is_learning:
        clause_en, clause_zh = anomaly_text.learning_clause(learned_days)
        english, chinese = english + clause_en, chinese + clause_zh
    ended = bool(np.isfinite(events.end_s[i]))
    return Anomaly(
        subject=f"series/{series.series_id}",
        site_id=series.site_id,
        series_id=series.series_id,
        detector=anomaly_text.DETECTOR_NAMES[rule],
        version=VERSION,
        start_s=float(events.start_s[i]),
        end_s=float(events.end_s[i]) if ended else None,
        peak_s=float(events.peak_s[i]),
        observed=observed,
        expected=expected if np.isfinite(expected) else None,
        spread=spread if np.isfinite(spread) else None,
        score=float(events.score[i]),
        severity=int(events.severity[i]),
        n_readings=int(events.n_readings[i]),
        state="closed" if ended else "open",
        reason_en=english,
        reason_zh=chinese,
        evidence={
            "rules": [one.name for one in Rule(int(events.rules[i]))],
            "limits": default_limits.effective_limits(series),
        }
        | ({"learned_days": round(learned_days, 2)} if is_learning else {}),
    )
