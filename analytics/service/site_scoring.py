"""Computes anomaly scores of sites across all of their series, with a model fitted for each half day.

A block is half a day. Its model is fitted to the good readings of the days before it, and to nothing else,
so that the score of a tick depends only on the content of the database
(docs/decisions/0011-judging-of-several-series.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.core import event_shapes, site_score
from analytics.core.site_score import SiteModel
from analytics.service import reading_grid as grids
from analytics.service.reading_grid import TICK_S, TICKS_PER_H
from edge.wire.quantities import QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from analytics.service.settings import Settings
    from ingest_service.storage.contract.models import Directory, NewestReading, Series
    from ingest_service.storage.contract.store import Store

    Floats = NDArray[np.float64]

BLOCK_TICKS = 12 * TICKS_PER_H
WARM_UP_TICKS = 12 * TICKS_PER_H  # ticks before a block that warm its smoothing up
NO_TICK = -(1 << 62)
MAX_LAG_SENDING_S = 72 * 3600.0  # a series further behind its area is not waited for even while it sends
MAX_LAG_SILENT_S = 3600.0  # a series further behind its area is waited for only while it sends


@dataclass(slots=True)
class ModelCache:
    """Fitted models by group and block, for one version of the directory; they can be recomputed."""

    version: int = -1
    by_block: dict[tuple[str, int], SiteModel | None] = field(default_factory=dict)

    def prune(self, version: int, first: Mapping[str, int]) -> None:
        """Drop the models of another directory version, and of blocks before their area's first tick."""
        carried_over = {} if version != self.version else self.by_block
        self.by_block = {
            (key, at): one
            for (key, at), one in carried_over.items()
            if at >= first.get(key.rpartition("/")[0], NO_TICK)
        }
        self.version = version


class SiteGroup(NamedTuple):
    """Sites of an area in the same domain (water, weather, traffic), and their ticks ``[first, last)``."""

    key: str
    area_id: str
    sites: list[str]
    quantities: list[str]
    series: list[Series]
    first: int
    last: int

    def blocks(self) -> range:
        """Return the first ticks of its blocks."""
        return range(self.first, self.last, BLOCK_TICKS)


class ScoredSites(NamedTuple):
    """Scores of all groups on one grid.

    Attributes
    ----------
    first : number of the first tick of the arrays
    sites, quantities : ids and names of the columns
    signals : input of the cause patterns
    score : (n_ticks, n_sites), NaN where a site was not judged
    shares : (n_ticks, n_sites, n_quantities)

    """

    first: int
    sites: list[str]
    quantities: list[str]
    signals: event_shapes.SiteSignals
    score: Floats
    shares: Floats


def complete_until(
    directory: Directory, latest: Sequence[NewestReading], now_s: float, grace_s: float
) -> dict[str, int]:
    """Return the tick up to which each area has sent everything; a silent series is not waited for.

    Series that the directory lacks, such as those judged by a town's platform, are ignored.
    """
    area = {site.site_id: site.area_id for site in directory.sites}
    series = {one.series_id: one for one in directory.series}
    received_by_area: dict[str, list[tuple[float, float]]] = {}
    for one in latest:
        enrolled_series = series.get(one.series_id)
        if enrolled_series is None:  # judged by a town's platform, or enrolled since the directory was read
            continue
        until_s = one.time_s + max(
            enrolled_series.interval_s - TICK_S, 0.0
        )  # a value is held for the interval
        received_by_area.setdefault(area[enrolled_series.site_id], []).append((until_s, one.received_s))
    until = {}
    for name, area_readings in received_by_area.items():
        middle_s = float(np.median([until_s for until_s, _ in area_readings]))
        awaited_until_s = [
            until_s
            for until_s, received_s in area_readings
            if until_s >= middle_s - MAX_LAG_SILENT_S
            or (now_s - received_s <= grace_s and until_s >= middle_s - MAX_LAG_SENDING_S)
        ]
        until[name] = int(min(awaited_until_s) // TICK_S) + 1
    return until


def site_groups(directory: Directory, until: Mapping[str, int], first: Mapping[str, int]) -> list[SiteGroup]:
    """Return the groups of sites to judge, from each area's first tick on."""
    area = {site.site_id: site.area_id for site in directory.sites}
    domain: dict[str, str] = {}
    for one in directory.series:
        domain.setdefault(one.site_id, QUANTITIES[one.quantity].domain)
    parts: dict[tuple[str, str], list[Series]] = {}
    for one in directory.series:
        if area[one.site_id] in until:
            parts.setdefault((area[one.site_id], domain[one.site_id]), []).append(one)
    return [
        SiteGroup(
            f"{area_id}/{kind}",
            area_id,
            sorted({one.site_id for one in series}),
            sorted({one.quantity for one in series}),
            series,
            first[area_id],
            until[area_id],
        )
        for (area_id, kind), series in sorted(parts.items())
    ]


def fit_models(
    store: Store, settings: Settings, models: ModelCache, groups: Sequence[SiteGroup], *, max_models: int
) -> bool:
    """Fit the missing models, at most ``max_models``; return whether none is missing now.

    Raises `StoreUnavailableError`.
    """
    longest = round(settings.several_history_days * 24 * TICKS_PER_H)
    missing = [(one, at) for one in groups for at in one.blocks() if (one.key, at) not in models.by_block]
    for group, at in missing[:max_models]:
        history = min(longest, settings.several_cells // (len(group.sites) * len(group.quantities)))
        grid = grids.load_grid(store, group.series, group.sites, group.quantities, ticks=(at - history, at))
        models.by_block[group.key, at] = SiteModel.fit(np.where(grid.good, grid.departure, np.nan))
    return len(missing) <= max_models


def score_groups(
    store: Store, models: ModelCache, groups: Sequence[SiteGroup], area: Mapping[str, str]
) -> ScoredSites:
    """Score the time ranges of some groups whose models are fitted. Raises `StoreUnavailableError`."""
    first, last = min(one.first for one in groups) - WARM_UP_TICKS, max(one.last for one in groups)
    sites = [site for group in groups for site in group.sites]
    quantities = sorted({quantity for group in groups for quantity in group.quantities})
    shape = (last - first, len(sites), len(quantities))
    departure, value, expected = (np.full(shape, np.nan) for _ in range(3))
    signed, shares, flat = np.zeros(shape), np.zeros(shape), np.zeros(shape, np.bool_)
    saturation, score = np.full(shape[:2], np.nan), np.full(shape[:2], np.nan)
    for group in groups:
        begin = group.first - WARM_UP_TICKS
        grid = grids.load_grid(store, group.series, group.sites, group.quantities, ticks=(begin, group.last))
        ticks = np.arange(begin - first, group.last - first)
        rows = np.array([sites.index(site) for site in group.sites])
        columns = np.array([quantities.index(quantity) for quantity in group.quantities])
        selection, site_selection = np.ix_(ticks, rows, columns), np.ix_(ticks, rows)
        signed[selection], score[site_selection], shares[selection] = _score_group(models, group, grid)
        value[selection], expected[selection], flat[selection] = grid.value, grid.expected, grid.flat
        departure[selection] = site_score.smooth_over_ticks(grid.value - grid.expected)
        saturation[site_selection] = grid.saturation
    rain_mm = _rain_mm(value, [area[site] for site in sites], quantities)
    signals = event_shapes.SiteSignals(signed, departure, value, expected, flat, saturation, rain_mm)
    return ScoredSites(first, sites, quantities, signals, score, shares)


def _score_group(models: ModelCache, group: SiteGroup, grid: grids.ReadingGrid) -> site_score.SiteScores:
    """Score a grid that begins `WARM_UP_TICKS` before the group's first tick; no scores before that tick."""
    shape = grid.value.shape
    signed, score, shares = np.zeros(shape), np.full(shape[:2], np.nan), np.zeros(shape)
    for at in group.blocks():
        model = models.by_block[group.key, at]
        if model is not None:
            begin, end = at - grid.first, min(at + BLOCK_TICKS, group.last) - grid.first
            ticks = slice(begin - WARM_UP_TICKS, end)
            one = site_score.score_sites(model, grid.departure[ticks], grid.failed[ticks])
            signed[begin:end], score[begin:end], shares[begin:end] = (part[WARM_UP_TICKS:] for part in one)
    return site_score.SiteScores(signed, score, shares)


def _rain_mm(value: Floats, area: list[str], quantities: list[str]) -> Floats:
    """Return the rain of each tick at each site [mm]: the largest of its area's gauges, 0 without a gauge."""
    rain = np.zeros(value.shape[:2])
    if grids.RAIN in quantities and value.size:
        rain_rate_mm = np.nan_to_num(value[:, :, quantities.index(grids.RAIN)]) * grids.TICK_S / 3600
        for name in set(area):
            selection = np.array([one == name for one in area])
            rain[:, selection] = rain_rate_mm[:, selection].max(axis=1, keepdims=True)
    return rain
