"""Keeps one identity for each event of a site, however often and over whichever ticks the site is judged.

An event is stored under the start with which it was first found. Each round judges a limited range of ticks
again; an event that began before the range is *going on*: its scores continue it, and its start and its cause
stay as stored, since neither can be computed without its begin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from analytics.core.score_events import find_score_events
from analytics.service.reading_grid import TICK_S, TICKS_PER_H

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from analytics.core.score_events import ScoreEvents
    from analytics.service.site_scoring import ScoredSites
    from ingest_service.storage.contract.models import Anomaly, Directory

# A site's score is −log10 of the probability of an excursion, not the rarity that a series' score is.
SCORE_LIMITS = {"weak": 5.0, "strong": 8.0, "close": 2.3}
GAP_READINGS = 24.0  # reporting intervals without evidence after which an event of a site has ended
MIN_GAP_TICKS, MAX_GAP_TICKS = TICKS_PER_H, 24 * TICKS_PER_H


class SiteGaps(NamedTuple):
    """Number of quiet ticks that ends an event of a site, by site id."""

    ticks: dict[str, int]

    @classmethod
    def of(cls, directory: Directory) -> SiteGaps:
        """Return `GAP_READINGS` intervals of each site's median series, between an hour and a day."""
        intervals_s: dict[str, list[float]] = {}
        for one in directory.series:
            intervals_s.setdefault(one.site_id, []).append(one.interval_s)
        gaps = {
            site: round(GAP_READINGS * float(np.median(intervals)) / TICK_S)
            for site, intervals in intervals_s.items()
        }
        return cls({site: min(max(gap, MIN_GAP_TICKS), MAX_GAP_TICKS) for site, gap in gaps.items()})

    def of_site(self, site_id: str) -> int:
        """Return the number of quiet ticks that ends an event of a site."""
        return self.ticks.get(site_id, MIN_GAP_TICKS)

    def of_sites(self, site_ids: Iterable[str]) -> NDArray[np.intp]:
        """Return the numbers of some sites, in their order."""
        return np.array([self.of_site(one) for one in site_ids], np.intp)


def start_tick(one: Anomaly) -> int:
    """Return the tick at which a stored event began."""
    return round(one.start_s) // TICK_S


def end_tick(one: Anomaly) -> int:
    """Return the last anomalous tick of a stored event, as far as it is known."""
    end_s = one.end_s if one.end_s is not None else one.evidence.get("window", {}).get("until_s", one.peak_s)
    return int(round(end_s) // TICK_S)


def going_on(stored: Sequence[Anomaly], first: Mapping[str, int]) -> dict[str, Anomaly]:
    """Return by site the stored event that began before the site's first tick and lasted until it."""
    found: dict[str, Anomaly] = {}
    for one in sorted(stored, key=lambda event: event.start_s):
        tick = first.get(one.site_id)
        if (
            tick is not None
            and one.state != "withdrawn"
            and start_tick(one) < tick
            and (one.state == "open" or end_tick(one) >= tick)
        ):
            found.setdefault(one.site_id, one)
    return found


def find_events(
    judged: ScoredSites, gaps: SiteGaps, continued: Mapping[str, Anomaly], first: Mapping[str, int]
) -> ScoreEvents:
    """Return the events in the scores; those that are going on begin at the site's first tick."""
    since = [first[site] - judged.first if site in continued else -1 for site in judged.sites]
    return find_score_events(
        judged.score, gap=gaps.of_sites(judged.sites), open_since=np.array(since, np.intp), **SCORE_LIMITS
    )


def sites_cut(
    judged: ScoredSites,
    gaps: SiteGaps,
    continued: Mapping[str, Anomaly],
    first: Mapping[str, int],
    report_from: Mapping[str, int],
) -> set[str]:
    """Return the sites with an event that may have begun before the first tick and is not stored.

    That is the case if an event that was open at the first tick would join it; the range has to begin
    earlier then.
    """
    begin = np.array([first[site] - judged.first for site in judged.sites], np.intp)
    gap = gaps.of_sites(judged.sites)
    is_known = np.array([site in continued for site in judged.sites], np.bool_)
    joined = find_score_events(
        judged.score, gap=gap, open_since=np.where(is_known, -1, begin), **SCORE_LIMITS
    )
    events = find_score_events(judged.score, gap=gap, open_since=None, **SCORE_LIMITS)
    cut = set()
    for track, start, end in zip(joined.track, joined.begin, joined.end, strict=True):
        site = judged.sites[track]
        if start == begin[track] and not is_known[track] and end + judged.first >= report_from[site]:
            is_joined = (events.track == track) & (events.begin <= end) & (events.end >= start)
            if is_joined.any():
                cut.add(site)
    return cut


def with_stored_identity(
    found: Sequence[Anomaly], stored: Sequence[Anomaly]
) -> tuple[list[Anomaly], list[Anomaly]]:
    """Return found events under the start of the stored event that each overlaps, and those merged.

    Scores change a little when late readings arrive; the event that they show remains the same.
    """
    by_site: dict[str, list[Anomaly]] = {}
    for one in sorted(stored, key=lambda event: event.start_s):
        if one.state != "withdrawn":
            by_site.setdefault(one.site_id, []).append(one)
    kept, merged = [], []
    for one in sorted(found, key=lambda event: event.start_s):
        candidates = by_site.get(one.site_id, [])
        same = [
            other
            for other in candidates
            if start_tick(other) <= end_tick(one) and end_tick(other) >= start_tick(one)
        ]
        for other in same:
            candidates.remove(other)
        identity = next(
            (other for other in same if start_tick(other) == start_tick(one)), same[0] if same else one
        )
        kept.append(msgspec.structs.replace(one, start_s=identity.start_s))
        merged += [other for other in same if other is not identity]
    return kept, merged
