"""Compares stored anomalies with those of a new judgement, and lists the corrections.

Nothing is deleted. An anomaly that is none any more is withdrawn, with the reason in words, and every change
is told in its ``evidence["rejudged"]``, oldest first: when, because of what, and what it was before.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.storage.model import Anomaly, Late

FOLLOWED = "followed_by"
"""In the evidence of an anomaly that is open, and that live judging does not know of."""
JUDGED = ("detector", "end_s", "peak_s", "observed", "score", "severity", "n_readings", "state", "reason_en")
SHIFT_ZH = 8 * 3600  # the words are for people in China


class Stretch(NamedTuple):
    """What is judged again.

    from_s, to_s : anomalies that begin in it may come or go; earlier ones may only change [s]
    late : the late readings behind it
    now_s : the platform's clock [s]
    """

    from_s: float
    to_s: float
    late: Late
    now_s: float

    @property
    def because(self) -> str:
        """Why it is judged again."""
        late = self.late
        readings = f"{late.readings} late reading{'s' if late.readings > 1 else ''}"
        return f"{readings} from {_moment(late.since_s)} to {_moment(late.until_s)}"


class Changes(NamedTuple):
    """Anomalies to record; ``unfinished`` if something that is still open may change once more."""

    anomalies: list[Anomaly]
    unfinished: bool


def changes(stored: Sequence[Anomaly], found: Sequence[Anomaly], stretch: Stretch) -> Changes:
    """What is to be recorded so that the stored anomalies of a series are those that were found.

    What live judging has open stays its own until it is closed, for it writes it with every batch; so does
    all that comes after it, and what was found to reach into it.

    Parameters
    ----------
    stored : what touches the stretch, of the core's detectors
    found : all that judging again found, by start

    """
    live = [one.start_s for one in stored if one.state == "open" and FOLLOWED not in one.evidence]
    horizon_s = min(live, default=float("inf"))
    reaching = [one.start_s for one in found if one.start_s < horizon_s and _end_s(one) >= horizon_s and live]
    horizon_s = min([horizon_s, *reaching])
    known = {_key(one): one for one in stored if one.start_s < horizon_s}
    true = {_key(one): one for one in found if one.start_s < min(horizon_s, stretch.to_s)}
    changed = [_corrected(known.get(key), one, stretch) for key, one in true.items()]
    changed += [
        _withdrawn(one, found, stretch)
        for key, one in known.items()
        if key not in true and one.state != "withdrawn" and stretch.from_s <= one.start_s < stretch.to_s
    ]
    is_open = any(one.state == "open" for one in true.values())
    return Changes([one for one in changed if one is not None], bool(live) or is_open)


def _corrected(old: Anomaly | None, new: Anomaly, stretch: Stretch) -> Anomaly | None:
    """An anomaly as it was found, with its record; None where that changes nothing."""
    if old is None:
        if new.start_s < stretch.from_s:
            return None
        was: dict[str, Any] | None = None
    else:
        was = {name: getattr(old, name) for name in JUDGED if _differs(old, new, name)}
        if not was:
            return None
    evidence = new.evidence | _record(old, was, stretch)
    if new.state == "open":
        evidence[FOLLOWED] = "rejudging"
    return msgspec.structs.replace(new, evidence=evidence)


def _withdrawn(old: Anomaly, found: Sequence[Anomaly], stretch: Stretch) -> Anomaly:
    """An anomaly that is none any more, or a part of another one."""
    late = stretch.late
    en = f"withdrawn: judged again with {stretch.because}, "
    times_zh = f"{_moment_zh(late.since_s)}至{_moment_zh(late.until_s)}"
    zh = f"已撤销：补到{late.readings}条迟到读数（{times_zh}）后重新判别，"
    whole = next((one for one in found if one.start_s <= _end_s(old) and old.start_s <= _end_s(one)), None)
    if whole is None:
        en, zh = f"{en}nothing is unusual here", f"{zh}此处并无异常"
    else:
        en = f"{en}it is part of the anomaly that begins at {_moment(whole.start_s)}"
        zh = f"{zh}属于{_moment_zh(whole.start_s)}开始的异常"
    evidence = {name: value for name, value in old.evidence.items() if name != FOLLOWED}
    return msgspec.structs.replace(
        old,
        state="withdrawn",
        end_s=old.peak_s if old.end_s is None else old.end_s,
        reason_en=f"{en}; it was: {old.reason_en}",
        reason_zh=f"{zh}；原判：{old.reason_zh}",
        evidence=evidence | _record(old, {"state": old.state, "end_s": old.end_s}, stretch),
    )


def _record(old: Anomaly | None, was: dict[str, Any] | None, stretch: Stretch) -> dict[str, Any]:
    """The record of an anomaly, one entry longer; ``was`` is None where there was none."""
    before = [] if old is None else old.evidence.get("rejudged", [])
    return {"rejudged": [*before, {"at": _moment(stretch.now_s), "because": stretch.because, "was": was}]}


def _differs(old: Anomaly, new: Anomaly, name: str) -> bool:
    one: Any = getattr(old, name)
    other: Any = getattr(new, name)
    if name.endswith("_s") and None not in (one, other):
        return bool(round(one * 1e6) != round(other * 1e6))
    return bool(one != other)


def _key(one: Anomaly) -> int:
    """What tells the anomalies of a series apart: the start [us]."""
    return round(one.start_s * 1e6)


def _end_s(one: Anomaly) -> float:
    return float("inf") if one.end_s is None else one.end_s


def _moment(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _moment_zh(time_s: float) -> str:
    return f"{datetime.fromtimestamp(time_s + SHIFT_ZH, UTC):%Y-%m-%d %H:%M}"
