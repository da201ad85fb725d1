"""Sites judged over all of their series, as a task: which ticks, and what of it is recorded.

One physical event at a site is one anomaly, of subject ``site/{site_id}/several``. Its detector is
``several``, or ``cause/{name}`` as soon as a pattern fits. It is told where a cause is named or where two
quantities or more depart; what one quantity does without a cause is its own series' matter.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import msgspec

from analytics.service import site_events, sites
from analytics.service.grid import TICK_S, TICKS_PER_H
from analytics.service.site_events import DETECTORS
from ingest_service.storage.model import AnomalyQuery

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from analytics.service.settings import Settings
    from ingest_service.storage.model import Anomaly
    from ingest_service.storage.store import Store

MANY = 10_000
LONGEST = 72 * TICKS_PER_H  # what began earlier is ended
MODELS_A_ROUND = 6  # that are learned before other tasks have their turn
CATCHING_UP = 2 * TICKS_PER_H  # an area that has moved on so far since the last look is waited for


@dataclass(slots=True)
class Memory:
    """What need not be worked out again.

    Attributes
    ----------
    models : of sites
    until : ticks up to which the areas were judged
    seen : ticks up to which they had sent everything at the last look
    next_s : when to look again, by the monotonic clock [s]

    """

    models: sites.Models = field(default_factory=sites.Models)
    until: dict[str, int] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    next_s: float = 0.0


_memories: WeakKeyDictionary[Store, Memory] = WeakKeyDictionary()


def judge_sites(store: Store, settings: Settings) -> None:
    """Judge the sites of all areas that have sent something new, every few seconds.

    While a backlog or a replay comes in faster than it was measured, it is waited for.
    """
    memory = _memories.setdefault(store, Memory())
    if time.monotonic() < memory.next_s:
        return
    until = sites.complete_until(store.directory(), store.latest(), time.time(), settings.silence_grace_s)
    steady = all(tick - memory.seen.get(area, 0) <= CATCHING_UP for area, tick in until.items())
    memory.seen = until
    if steady and until != memory.until:
        found = changes(store, settings, memory, until)
        if found is None:
            return  # more models are to be learned: in the next round
        store.record(found)
    memory.next_s = time.monotonic() + settings.several_every_s


def changes(
    store: Store,
    settings: Settings,
    memory: Memory,
    until: Mapping[str, int],
    *,
    models: int = MODELS_A_ROUND,
) -> list[Anomaly] | None:
    """Anomalies of sites to record; None where models are missing, of which some were learned.

    Parameters
    ----------
    until : the tick up to which each area is judged
    models : how many may be learned

    Raises
    ------
    StoreUnavailable

    """
    directory = store.directory()
    area = {site.site_id: site.area_id for site in directory.sites}
    earliest_s = float((min(until.values(), default=0) - LONGEST) * TICK_S)
    stored = store.anomalies(AnomalyQuery(detectors=DETECTORS, from_s=earliest_s, limit=MANY))
    first = _firsts(area, settings, until, stored)
    memory.models.forget(directory.version, min(first.values(), default=0))
    groups = sites.groups_of(directory, until, first)
    if not groups:
        return []
    if not sites.learn(store, settings, memory.models, groups, most=models):
        return None
    judged = sites.judge(store, memory.models, groups, area)
    found = site_events.anomalies(store, directory, judged)
    memory.until = dict(until)
    return [*found, *_ended(stored, found, area, first)]


def _firsts(
    area: Mapping[str, str], settings: Settings, until: Mapping[str, int], stored: Sequence[Anomaly]
) -> dict[str, int]:
    """Where each area's stretch begins: at a block, and before all that is known and reaches into it."""
    firsts = {}
    for name, last in until.items():
        begin = last - round(settings.several_reach_h * TICKS_PER_H)
        here = [one for one in stored if area[one.site_id] == name and one.state != "withdrawn"]
        reaching = [
            _tick(one.start_s)
            for one in here
            if one.end_s is None or _tick(one.end_s) + site_events.GAP >= begin
        ]
        begin = max(min([begin, *(tick - site_events.GAP for tick in reaching)]), last - LONGEST)
        firsts[name] = begin // sites.BLOCK * sites.BLOCK
    return firsts


def _tick(time_s: float) -> int:
    return round(time_s) // TICK_S


def _ended(
    stored: Sequence[Anomaly], found: Sequence[Anomaly], area: Mapping[str, str], first: Mapping[str, int]
) -> list[Anomaly]:
    """What is no event any more, and what is open and began before the stretch."""
    known = {(one.subject, _tick(one.start_s)) for one in found}
    ended = []
    for one in stored:
        begins, begin = _tick(one.start_s), first.get(area[one.site_id])
        if begin is None or one.state == "withdrawn" or (one.subject, begins) in known:
            continue
        if begins < begin and one.state == "open":
            end_s = one.evidence.get("window", {}).get("until_s", one.peak_s)
            ended.append(msgspec.structs.replace(one, state="closed", end_s=end_s))
        elif begins >= begin:
            ended.append(_withdrawn(one))
    return ended


def _withdrawn(one: Anomaly) -> Anomaly:
    return msgspec.structs.replace(
        one,
        state="withdrawn",
        end_s=one.peak_s if one.end_s is None else one.end_s,
        reason_en=f"withdrawn: with all readings there, nothing is unusual here; it was: {one.reason_en}",
        reason_zh=f"已撤销：读数补齐后此处并无异常；原判：{one.reason_zh}",
    )
