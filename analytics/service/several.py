"""Task that judges sites over all of their series, and records their events.

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

from analytics.service import items, site_events, sites
from analytics.service.grid import TICK_S, TICKS_PER_H
from analytics.service.site_events import DETECTORS
from analytics.service.turn import ENDLESS
from ingest_service.storage.model import AnomalyQuery

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from analytics.service.settings import Settings
    from analytics.service.turn import Turn
    from ingest_service.storage.model import Anomaly, Directory
    from ingest_service.storage.store import Store

MANY = 10_000
LONGEST = 72 * TICKS_PER_H  # what began earlier is ended
MODELS_A_ROUND = 6  # that are learned before other tasks have their turn
MODELS_OF_ONE = 12  # all that a stretch of one site has
CATCHING_UP = 2 * TICKS_PER_H  # an area that has moved on so far since the last look is waited for


@dataclass(slots=True)
class Memory:
    """What need not be worked out again.

    Attributes
    ----------
    models : of sites
    until : ticks up to which the areas were judged
    seen : ticks up to which they had sent everything at the last look
    judged_s : when the areas were last judged, by the monotonic clock [s]
    next_s : when to look again, by the monotonic clock [s]

    """

    models: sites.Models = field(default_factory=sites.Models)
    until: dict[str, int] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    judged_s: dict[str, float] = field(default_factory=dict)
    next_s: float = 0.0


_memories: WeakKeyDictionary[Store, Memory] = WeakKeyDictionary()


def judge_sites(store: Store, settings: Settings, turn: Turn = ENDLESS) -> None:
    """Judge the sites of all areas that have sent something new, every few seconds.

    An area whose backlog or replay comes in faster than it was measured is waited for. Areas that are far
    apart in time, or too many for one array, are judged without each other; those that were judged longest
    ago come first.
    """
    memory = _memories.setdefault(store, Memory())
    if time.monotonic() < memory.next_s:
        return
    directory = store.directory()
    until = sites.complete_until(directory, store.latest(), time.time(), settings.silence_grace_s)
    steady = {area: tick for area, tick in until.items() if tick - memory.seen.get(area, 0) <= CATCHING_UP}
    memory.seen = until
    together = clusters(directory, settings, steady)
    for one in sorted(together, key=lambda areas: min(memory.judged_s.get(area, 0.0) for area in areas)):
        if turn.over:
            return  # the rest is judged in the next round
        if any(memory.until.get(area) != tick for area, tick in one.items()) and not _judge(
            store, settings, memory, one, turn
        ):
            return  # more models are to be learned: in the next round
    memory.next_s = time.monotonic() + settings.several_every_s


def clusters(directory: Directory, settings: Settings, until: Mapping[str, int]) -> list[dict[str, int]]:
    """Areas that are judged together: near each other in time, and few enough for one array."""
    apart = round(settings.several_apart_h * TICKS_PER_H)
    near: list[dict[str, int]] = []
    for area, tick in sorted(until.items(), key=lambda one: -one[1]):
        if near and max(near[-1].values()) - tick <= apart:
            near[-1][area] = tick
        else:
            near.append({area: tick})
    ticks = LONGEST + sites.WARM + sites.BLOCK + apart
    columns = _columns(directory)
    found: list[dict[str, int]] = []
    for some in near:
        n_sites, quantities = 0, set[str]()
        for area, tick in sorted(some.items()):
            n, measured = columns[area]
            n_sites, quantities = n_sites + n, quantities | measured
            if area == min(some) or ticks * n_sites * len(quantities) > settings.several_cells:
                found.append({})
                n_sites, quantities = n, measured
            found[-1][area] = tick
    return found


def _columns(directory: Directory) -> dict[str, tuple[int, set[str]]]:
    """How many sites with series each area has, and the quantities that they measure."""
    area = {site.site_id: site.area_id for site in directory.sites}
    sites_of: dict[str, set[str]] = {}
    measured: dict[str, set[str]] = {}
    for one in directory.series:
        sites_of.setdefault(area[one.site_id], set()).add(one.site_id)
        measured.setdefault(area[one.site_id], set()).add(one.quantity)
    return {name: (len(sites_of[name]), measured[name]) for name in sites_of}


def _judge(store: Store, settings: Settings, memory: Memory, areas: Mapping[str, int], turn: Turn) -> bool:
    """Judge some areas and record what is found; whether all of their models were there.

    Where that fails, each area is judged by itself for a while; where one fails by itself, it is judged
    without the sites that fail by themselves.
    """
    faults = items.of(store, "judge_sites")
    if len(areas) > 1 and faults.is_put_off(" ".join(sorted(areas))):
        parts = [{area: tick} for area, tick in areas.items()]
    else:
        parts = [dict(areas)]
    for part in parts:
        key = " ".join(sorted(part))
        if faults.is_put_off(key):
            continue
        if turn.over:
            return False
        with faults.isolated(key):
            left_out = frozenset(items.of(store, "sites").put_off())
            found = changes(store, settings, memory, part, left_out=left_out)
            if found is None:
                return False
            items.record(store, faults, found)
            memory.judged_s |= dict.fromkeys(part, time.monotonic())
        if faults.failed(key) and len(part) == 1 and _find_faulty(store, settings, part, turn):
            faults.forgive(key)
    return True


def _find_faulty(store: Store, settings: Settings, part: Mapping[str, int], turn: Turn) -> bool:
    """Put off those sites of an area that can't be judged even by themselves; whether there are any."""
    directory, faulty = store.directory(), items.of(store, "sites")
    (area,) = part
    known = faulty.put_off()
    for site in directory.sites:
        if turn.over:
            break
        if site.area_id == area and not faulty.is_put_off(site.site_id):
            others = frozenset(one.site_id for one in directory.sites if one.site_id != site.site_id)
            with faulty.isolated(site.site_id):
                changes(store, settings, Memory(), part, models=MODELS_OF_ONE, left_out=others)
    return faulty.put_off() > known


def changes(
    store: Store,
    settings: Settings,
    memory: Memory,
    until: Mapping[str, int],
    *,
    models: int = MODELS_A_ROUND,
    left_out: frozenset[str] = frozenset(),
) -> list[Anomaly] | None:
    """Anomalies of sites to record; None where models are missing, of which some were learned.

    Parameters
    ----------
    until : the tick up to which each area is judged
    models : how many may be learned
    left_out : sites that are not judged

    Raises
    ------
    StoreUnavailable

    """
    whole = store.directory()
    directory = _without(whole, left_out)
    area = {site.site_id: site.area_id for site in directory.sites if site.area_id in until}
    earliest_s = float((min(until.values(), default=0) - LONGEST) * TICK_S)
    query = AnomalyQuery(site_ids=sorted(area), detectors=DETECTORS, from_s=earliest_s, limit=MANY)
    stored = store.anomalies(query) if area else []
    first = _firsts(area, settings, until, stored, _most_ticks(directory, settings))
    memory.models.forget(directory.version, first)
    groups = [_marked(one, whole, left_out) for one in sites.groups_of(directory, until, first)]
    if not groups:
        return []
    if not sites.learn(store, settings, memory.models, groups, most=models):
        return None
    judged = sites.judge(store, memory.models, groups, area)
    found = site_events.anomalies(store, directory, judged)
    memory.until |= until
    return [*found, *_ended(stored, found, area, first)]


def _firsts(
    area: Mapping[str, str],
    settings: Settings,
    until: Mapping[str, int],
    stored: Sequence[Anomaly],
    most: Mapping[str, int],
) -> dict[str, int]:
    """Where each area's stretch begins: at a block, and before all that is known and reaches into it.

    It has at most so many ticks that the area's array stays within its bound, and one block at least.
    """
    firsts = {}
    for name, last in until.items():
        begin = last - round(settings.several_reach_h * TICKS_PER_H)
        here = [one for one in stored if area[one.site_id] == name and one.state != "withdrawn"]
        reaching = [
            _tick(one.start_s)
            for one in here
            if one.end_s is None or _tick(one.end_s) + site_events.GAP >= begin
        ]
        longest = max(min(LONGEST, most.get(name, LONGEST)), 1)
        begin = max(min([begin, *(tick - site_events.GAP for tick in reaching)]), last - longest)
        firsts[name] = begin // sites.BLOCK * sites.BLOCK
    return firsts


def _most_ticks(directory: Directory, settings: Settings) -> dict[str, int]:
    """How many ticks each area may have besides those that warm up and those that fill its first block."""
    return {
        name: settings.several_cells // (n * len(measured)) - sites.WARM - sites.BLOCK
        for name, (n, measured) in _columns(directory).items()
    }


def _marked(group: sites.Group, whole: Directory, left_out: frozenset[str]) -> sites.Group:
    """A group whose models are not taken for those of the same group with all of its sites."""
    here = [one.site_id for one in whole.sites if one.area_id == group.area_id and one.site_id in left_out]
    return group._replace(key=" without ".join([group.key, *here]))


def _without(directory: Directory, left_out: frozenset[str]) -> Directory:
    if not left_out:
        return directory
    return msgspec.structs.replace(
        directory,
        sites=[one for one in directory.sites if one.site_id not in left_out],
        series=[one for one in directory.series if one.site_id not in left_out],
    )


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
