"""Periodic task that detects events at sites across all of their series, and records them as anomalies.

One physical event at a site is one anomaly, of subject ``site/{site_id}/several``. Its detector is
``several``, or ``cause/{name}`` as soon as a cause pattern matches. It is recorded if a cause is named or if
at least two quantities depart; a departure of one quantity without a cause is left to its own series.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple, Self

import msgspec

from analytics.service import (
    explained_anomalies,
    item_backoff,
    site_anomaly_builder,
    site_event_identity,
    site_scoring,
)
from analytics.service.reading_grid import TICK_S, TICKS_PER_H
from analytics.service.service_state import ServiceState, SiteJudgingState
from analytics.service.site_anomaly_builder import DETECTORS
from analytics.service.time_slice import UNLIMITED
from ingest_service.storage.contract import explanations
from ingest_service.storage.contract.models import AnomalyQuery
from ingest_service.storage.contract.paging import all_anomalies

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from analytics.service.settings import Settings
    from analytics.service.time_slice import TimeSlice
    from ingest_service.storage.contract.models import Anomaly, Directory
    from ingest_service.storage.contract.store import Store

# Ticks judged again at most; an event that began earlier goes on as it is stored.
MAX_EVENT_TICKS = 72 * TICKS_PER_H
# Ticks judged before those whose events are reported: water travels for 8 h, and 1.4 times that if slow.
CONTEXT_TICKS = 12 * TICKS_PER_H
CALM_EN, CALM_ZH = "with all readings there, nothing is unusual here", "读数补齐后此处并无异常"
PART_EN, PART_ZH = "it is part of an event that began earlier", "属于更早开始的同一异常"
MODELS_PER_ROUND = 6  # models fitted before the other tasks have their turn
MODELS_OF_ONE_SITE = 12  # all models of one site in one time range
CATCHING_UP_TICKS = 2 * TICKS_PER_H  # an area that advanced further since the last round is catching up


def judge_sites(
    store: Store,
    settings: Settings,
    time_slice: TimeSlice = UNLIMITED,
    service_state: ServiceState | None = None,
) -> None:
    """Judge the sites of all areas that sent new readings, every few seconds.

    An area that is catching up (a backlog or replay arrives faster than it was measured) is postponed. Areas
    that are far apart in time, or too large for one array, are judged separately; those judged longest ago
    come first.
    """
    service_state = service_state or ServiceState()
    judging_state = service_state.site_judging
    if time.monotonic() < judging_state.next_s:
        return
    directory = store.directory().judged_here()
    until = site_scoring.complete_until(directory, store.latest(), time.time(), settings.silence_grace_s)
    steady_areas = {
        area: tick
        for area, tick in until.items()
        if tick - judging_state.newest_ticks.get(area, 0) <= CATCHING_UP_TICKS
    }
    judging_state.newest_ticks = until
    area_clusters = cluster_areas(directory, settings, steady_areas)
    for one in sorted(
        area_clusters, key=lambda areas: min(judging_state.judged_s.get(area, 0.0) for area in areas)
    ):
        if time_slice.is_over:
            return  # the rest is judged in the next round
        if any(judging_state.until.get(area) != tick for area, tick in one.items()) and not _judge_areas(
            store, settings, service_state, one, time_slice
        ):
            return  # the remaining models are fitted in the next round
    judging_state.next_s = time.monotonic() + settings.several_every_s


def cluster_areas(directory: Directory, settings: Settings, until: Mapping[str, int]) -> list[dict[str, int]]:
    """Group areas to judge together: near each other in time, and small enough for one array."""
    max_ticks_apart = round(settings.several_apart_h * TICKS_PER_H)
    areas_near_in_time: list[dict[str, int]] = []
    for area, tick in sorted(until.items(), key=lambda one: -one[1]):
        if areas_near_in_time and max(areas_near_in_time[-1].values()) - tick <= max_ticks_apart:
            areas_near_in_time[-1][area] = tick
        else:
            areas_near_in_time.append({area: tick})
    ticks = MAX_EVENT_TICKS + site_scoring.WARM_UP_TICKS + site_scoring.BLOCK_TICKS + max_ticks_apart
    columns = _sites_and_quantities(directory)
    found: list[dict[str, int]] = []
    for cluster in areas_near_in_time:
        n_sites, quantities = 0, set[str]()
        for area, tick in sorted(cluster.items()):
            n, measured = columns[area]
            n_sites, quantities = n_sites + n, quantities | measured
            if area == min(cluster) or ticks * n_sites * len(quantities) > settings.several_cells:
                found.append({})
                n_sites, quantities = n, measured
            found[-1][area] = tick
    return found


def _sites_and_quantities(directory: Directory) -> dict[str, tuple[int, set[str]]]:
    """Return the number of sites with series in each area, and the quantities that they measure."""
    area = {site.site_id: site.area_id for site in directory.sites}
    sites_of: dict[str, set[str]] = {}
    measured: dict[str, set[str]] = {}
    for one in directory.series:
        sites_of.setdefault(area[one.site_id], set()).add(one.site_id)
        measured.setdefault(area[one.site_id], set()).add(one.quantity)
    return {name: (len(sites_of[name]), measured[name]) for name in sites_of}


def _judge_areas(
    store: Store,
    settings: Settings,
    service_state: ServiceState,
    areas: Mapping[str, int],
    time_slice: TimeSlice,
) -> bool:
    """Judge some areas and record their anomalies; return whether all of their models were available.

    If that fails, each area is judged separately for a while; if a single area fails, it is judged without
    the sites that fail on their own.
    """
    judging_state, faults = service_state.site_judging, service_state.backoff("judge_sites")
    if len(areas) > 1 and faults.is_deferred(" ".join(sorted(areas))):
        parts = [{area: tick} for area, tick in areas.items()]
    else:
        parts = [dict(areas)]
    for part in parts:
        key = " ".join(sorted(part))
        if faults.is_deferred(key):
            continue
        if time_slice.is_over:
            return False
        with faults.isolate(key):
            excluded_sites = frozenset(service_state.backoff("sites").deferred_items())
            found = find_site_anomalies(store, settings, judging_state, part, excluded_sites=excluded_sites)
            if found is None:
                return False
            item_backoff.record_or_defer(store, faults, found)
            explain(store, settings, part)
            judging_state.judged_s |= dict.fromkeys(part, time.monotonic())
        if (
            faults.failed(key)
            and len(part) == 1
            and _defer_faulty_sites(store, settings, service_state, part, time_slice)
        ):
            faults.retry_now(key)
    return True


def explain(store: Store, settings: Settings, until: Mapping[str, int]) -> None:
    """Explain the anomalies of some areas by the events of their sites and by rain.

    Raises `StoreUnavailableError`.
    """
    reach_ticks = round(settings.several_reach_h * TICKS_PER_H) + CONTEXT_TICKS
    since_s = float((min(until.values(), default=0) - reach_ticks) * TICK_S)
    explained_anomalies.explain_anomalies(store, _judged_directory(store, until), until, since_s=since_s)


def _judged_directory(store: Store, until: Mapping[str, int]) -> Directory:
    """Return what is judged here, with the networks that were valid at the newest of the judged ticks."""
    directory = store.directory().judged_here()
    return directory.valid_at(float(max(until.values()) * TICK_S)) if until else directory


def _defer_faulty_sites(
    store: Store,
    settings: Settings,
    service_state: ServiceState,
    part: Mapping[str, int],
    time_slice: TimeSlice,
) -> bool:
    """Defer the sites of an area that can't be judged even on their own; return whether there are any."""
    directory, faulty = store.directory().judged_here(), service_state.backoff("sites")
    (area,) = part
    known = faulty.deferred_items()
    for site in directory.sites:
        if time_slice.is_over:
            break
        if site.area_id == area and not faulty.is_deferred(site.site_id):
            others = frozenset(one.site_id for one in directory.sites if one.site_id != site.site_id)
            with faulty.isolate(site.site_id):
                find_site_anomalies(
                    store,
                    settings,
                    SiteJudgingState(),
                    part,
                    models=MODELS_OF_ONE_SITE,
                    excluded_sites=others,
                )
    return faulty.deferred_items() > known


def find_site_anomalies(
    store: Store,
    settings: Settings,
    judging_state: SiteJudgingState,
    until: Mapping[str, int],
    *,
    models: int = MODELS_PER_ROUND,
    excluded_sites: frozenset[str] = frozenset(),
) -> list[Anomaly] | None:
    """Return the anomalies of sites to record; None if models are still missing after fitting some.

    Parameters
    ----------
    until : the tick up to which each area is judged
    models : how many models may be fitted
    excluded_sites : sites that are not judged

    Raises
    ------
    StoreUnavailableError

    """
    full_directory = _judged_directory(store, until)
    directory = _without_sites(full_directory, excluded_sites)
    area = {site.site_id: site.area_id for site in directory.sites if site.area_id in until}
    earliest_s = float((min(until.values(), default=0) - MAX_EVENT_TICKS) * TICK_S)
    query = AnomalyQuery(site_ids=sorted(area), detectors=DETECTORS, from_s=earliest_s)
    stored = [explanations.as_judged(one) for one in all_anomalies(store, query)] if area else []
    ranges = _area_ranges(area, settings, until, stored, directory)
    judging_state.models.prune(directory.version, {name: one.earliest for name, one in ranges.items()})
    while True:
        first_of_area = {name: one.first for name, one in ranges.items()}
        groups = [
            _with_marked_key(one, full_directory, excluded_sites)
            for one in site_scoring.site_groups(directory, until, first_of_area)
        ]
        if not groups:
            return []
        if not site_scoring.fit_models(store, settings, judging_state.models, groups, max_models=models):
            return None
        judged = site_scoring.score_groups(store, judging_state.models, groups, area)
        first, report_from = (
            {site: getattr(ranges[name], field) for site, name in area.items()}
            for field in ("first", "report_from")
        )
        continued = site_event_identity.going_on(stored, first)
        cut = site_event_identity.sites_cut(
            judged, site_event_identity.SiteGaps.of(directory), continued, first, report_from
        )
        longer = {name: ranges[name].longest() for name in {area[site] for site in cut}}
        if all(one == ranges[name] for name, one in longer.items()):
            break
        ranges |= longer
    found = site_anomaly_builder.build_site_anomalies(store, directory, judged, first, continued)
    found = [one for one in found if site_event_identity.end_tick(one) >= report_from[one.site_id]]
    judging_state.until |= until
    kept, merged = site_event_identity.with_stored_identity(found, stored)
    return [*kept, *_end_or_withdraw(stored, kept, merged, report_from)]


class TickRange(NamedTuple):
    """Ticks of an area to judge again.

    Attributes
    ----------
    earliest : first tick that may be judged, the start of a block
    first : first tick that is judged, the start of a block
    report_from : events that end before it stay as they are stored

    """

    earliest: int
    first: int
    report_from: int

    def longest(self) -> Self:
        """Return the range from the earliest tick on."""
        return self._replace(first=self.earliest)


def _area_ranges(
    area: Mapping[str, str],
    settings: Settings,
    until: Mapping[str, int],
    stored: Sequence[Anomaly],
    directory: Directory,
) -> dict[str, TickRange]:
    """Return the ticks to judge of each area: the last ones, and events that reach into those.

    The range is bounded, so that the area's array stays within its bound, and has at least one block.
    """
    ranges = {}
    gaps = site_event_identity.SiteGaps.of(directory)
    max_ticks = _max_ticks_by_area(directory, settings)
    for name, last in until.items():
        longest = max(min(MAX_EVENT_TICKS, max_ticks.get(name, MAX_EVENT_TICKS)), 1)
        context = CONTEXT_TICKS if longest > 2 * CONTEXT_TICKS else 0
        begin = last - round(settings.several_reach_h * TICKS_PER_H)
        # A neighbour downstream may show it later: an event is judged again for as long as that takes.
        reaching = [
            site_event_identity.start_tick(one) - gaps.of_site(one.site_id)
            for one in stored
            if area[one.site_id] == name
            and one.state != "withdrawn"
            and (one.state == "open" or site_event_identity.end_tick(one) + CONTEXT_TICKS >= begin)
        ]
        begin = max(min([begin, *reaching]), last - longest + context)
        earliest = _block_start(last - longest)
        ranges[name] = TickRange(earliest, max(_block_start(begin - context), earliest), begin)
    return ranges


def _block_start(tick: int) -> int:
    return tick // site_scoring.BLOCK_TICKS * site_scoring.BLOCK_TICKS


def _max_ticks_by_area(directory: Directory, settings: Settings) -> dict[str, int]:
    """Return how many ticks each area may have besides the warm-up and those that fill its first block."""
    return {
        name: settings.several_cells // (n * len(measured))
        - site_scoring.WARM_UP_TICKS
        - site_scoring.BLOCK_TICKS
        for name, (n, measured) in _sites_and_quantities(directory).items()
    }


def _with_marked_key(
    group: site_scoring.SiteGroup, full_directory: Directory, excluded_sites: frozenset[str]
) -> site_scoring.SiteGroup:
    """Return a group whose key names the sites left out, so that its models are cached separately."""
    in_area = [
        one.site_id
        for one in full_directory.sites
        if one.area_id == group.area_id and one.site_id in excluded_sites
    ]
    return group._replace(key=" without ".join([group.key, *in_area]))


def _without_sites(directory: Directory, excluded_sites: frozenset[str]) -> Directory:
    if not excluded_sites:
        return directory
    return msgspec.structs.replace(
        directory,
        sites=[one for one in directory.sites if one.site_id not in excluded_sites],
        series=[one for one in directory.series if one.site_id not in excluded_sites],
    )


def _end_or_withdraw(
    stored: Sequence[Anomaly],
    found: Sequence[Anomaly],
    merged: Sequence[Anomaly],
    report_from: Mapping[str, int],
) -> list[Anomaly]:
    """Return stored anomalies no longer found as withdrawn, open ones from before the range as closed."""
    known = {(one.subject, site_event_identity.start_tick(one)) for one in found}
    merged_ids = {one.anomaly_id for one in merged}
    ended = []
    for one in stored:
        start, begin = site_event_identity.start_tick(one), report_from.get(one.site_id)
        if begin is None or one.state == "withdrawn" or (one.subject, start) in known:
            continue
        if one.anomaly_id in merged_ids:
            ended.append(_withdrawn(one, PART_EN, PART_ZH))
        elif start >= begin:
            ended.append(_withdrawn(one, CALM_EN, CALM_ZH))
        elif one.state == "open":
            end_s = one.evidence.get("window", {}).get("until_s", one.peak_s)
            ended.append(msgspec.structs.replace(one, state="closed", end_s=end_s))
    return ended


def _withdrawn(one: Anomaly, english: str, chinese: str) -> Anomaly:
    return msgspec.structs.replace(
        one,
        state="withdrawn",
        end_s=one.peak_s if one.end_s is None else one.end_s,
        reason_en=f"withdrawn: {english}; it was: {one.reason_en}",
        reason_zh=f"已撤销：{chinese}；原判：{one.reason_zh}",
    )
