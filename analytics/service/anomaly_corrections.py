"""Compares stored anomalies with those of a new judgement, and lists the corrections.

Nothing is deleted. An anomaly that no longer holds is withdrawn, with the reason as text, and every change
is recorded in its ``evidence["rejudged"]``, oldest first: its time, its cause, and the values before.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.storage.contract.models import Anomaly, LateReadings

FOLLOWED_BY_KEY = "followed_by"
"""Evidence key of an open anomaly that only rejudging found, so that live judging does not update it."""
COMPARED_FIELDS = (
    "detector",
    "end_s",
    "peak_s",
    "observed",
    "score",
    "severity",
    "n_readings",
    "state",
    "reason_en",
)
CHINA_OFFSET_S = 8 * 3600  # times in Chinese texts are local (UTC+8)


class RejudgedRange(NamedTuple):
    """The time range that is judged again.

    Attributes
    ----------
    from_s, to_s : anomalies that begin in the range may be added or withdrawn; earlier ones may only change,
        Unix seconds [s]
    late : the late readings that caused it
    now_s : the platform's clock, Unix seconds [s]

    """

    from_s: float
    to_s: float
    late: LateReadings
    now_s: float

    @property
    def cause_text(self) -> str:
        """The cause as English text: number and time range of the late readings."""
        late = self.late
        readings = f"{late.readings} late reading{'s' if late.readings > 1 else ''}"
        return f"{readings} from {_iso_time(late.since_s)} to {_iso_time(late.until_s)}"


class AnomalyCorrections(NamedTuple):
    """Anomalies to record; ``unfinished`` if an open anomaly may still change: judge again later."""

    anomalies: list[Anomaly]
    unfinished: bool


def correct_anomalies(
    stored: Sequence[Anomaly], found_anomalies: Sequence[Anomaly], rejudged_range: RejudgedRange
) -> AnomalyCorrections:
    """Return the corrections that make the stored anomalies of a series equal to those found.

    An anomaly that live judging has open is left alone until it is closed, because live judging writes it
    with every batch; so are all later ones, and those found that overlap it.

    Parameters
    ----------
    stored : stored anomalies of the core's detectors that overlap the range
    found_anomalies : all anomalies that judging again found, by start

    """
    live_open_starts = [
        one.start_s for one in stored if one.state == "open" and FOLLOWED_BY_KEY not in one.evidence
    ]
    horizon_s = min(live_open_starts, default=float("inf"))
    reaching_starts = [
        one.start_s
        for one in found_anomalies
        if one.start_s < horizon_s and _end_s(one) >= horizon_s and live_open_starts
    ]
    horizon_s = min([horizon_s, *reaching_starts])
    stored_by_start = {_key(one): one for one in stored if one.start_s < horizon_s}
    found_by_start = {
        _key(one): one for one in found_anomalies if one.start_s < min(horizon_s, rejudged_range.to_s)
    }
    changed = [
        _corrected(stored_by_start.get(key), one, rejudged_range) for key, one in found_by_start.items()
    ]
    changed += [
        _withdrawn(one, found_anomalies, rejudged_range)
        for key, one in stored_by_start.items()
        if key not in found_by_start
        and one.state != "withdrawn"
        and rejudged_range.from_s <= one.start_s < rejudged_range.to_s
    ]
    is_open = any(one.state == "open" for one in found_by_start.values())
    return AnomalyCorrections([one for one in changed if one is not None], bool(live_open_starts) or is_open)


def _corrected(old: Anomaly | None, new: Anomaly, rejudged_range: RejudgedRange) -> Anomaly | None:
    """Return the anomaly found, with its history of changes; None if it equals the stored one."""
    if old is None:
        if new.start_s < rejudged_range.from_s:
            return None
        values_before: dict[str, Any] | None = None
    else:
        values_before = {name: getattr(old, name) for name in COMPARED_FIELDS if _differs(old, new, name)}
        if not values_before:
            return None
    evidence = new.evidence | _extend_rejudge_history(old, values_before, rejudged_range)
    if new.state == "open":
        evidence[FOLLOWED_BY_KEY] = "rejudging"
    return msgspec.structs.replace(new, evidence=evidence)


def _withdrawn(old: Anomaly, found_anomalies: Sequence[Anomaly], rejudged_range: RejudgedRange) -> Anomaly:
    """Return an anomaly as withdrawn, because it no longer holds or is part of another one."""
    late = rejudged_range.late
    en = f"withdrawn: judged again with {rejudged_range.cause_text}, "
    times_zh = f"{_local_time_zh(late.since_s)}至{_local_time_zh(late.until_s)}"
    zh = f"已撤销：补到{late.readings}条迟到读数（{times_zh}）后重新判别，"
    containing = next(
        (one for one in found_anomalies if one.start_s <= _end_s(old) and old.start_s <= _end_s(one)), None
    )
    if containing is None:
        en, zh = f"{en}nothing is unusual here", f"{zh}此处并无异常"
    else:
        en = f"{en}it is part of the anomaly that begins at {_iso_time(containing.start_s)}"
        zh = f"{zh}属于{_local_time_zh(containing.start_s)}开始的异常"
    evidence = {name: value for name, value in old.evidence.items() if name != FOLLOWED_BY_KEY}
    return msgspec.structs.replace(
        old,
        state="withdrawn",
        end_s=old.peak_s if old.end_s is None else old.end_s,
        reason_en=f"{en}; it was: {old.reason_en}",
        reason_zh=f"{zh}；原判：{old.reason_zh}",
        evidence=evidence
        | _extend_rejudge_history(old, {"state": old.state, "end_s": old.end_s}, rejudged_range),
    )


def _extend_rejudge_history(
    old: Anomaly | None, values_before: dict[str, Any] | None, rejudged_range: RejudgedRange
) -> dict[str, Any]:
    """Return the anomaly's history with one more entry; ``was`` is None if there was no anomaly before."""
    before = [] if old is None else old.evidence.get("rejudged", [])
    return {
        "rejudged": [
            *before,
            {
                "at": _iso_time(rejudged_range.now_s),
                "because": rejudged_range.cause_text,
                "was": values_before,
            },
        ]
    }


def _differs(old: Anomaly, new: Anomaly, name: str) -> bool:
    one: Any = getattr(old, name)
    other: Any = getattr(new, name)
    if name.endswith("_s") and None not in (one, other):
        return bool(round(one * 1e6) != round(other * 1e6))
    return bool(one != other)


def _key(one: Anomaly) -> int:
    """Return the key of an anomaly within its series: its start [us]."""
    return round(one.start_s * 1e6)


def _end_s(one: Anomaly) -> float:
    return float("inf") if one.end_s is None else one.end_s


def _iso_time(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _local_time_zh(time_s: float) -> str:
    return f"{datetime.fromtimestamp(time_s + CHINA_OFFSET_S, UTC):%Y-%m-%d %H:%M}"
