"""Caches the directory of areas, sites, devices and series, indexed and restricted to visible areas.

The store's directory version is checked once a second, and the directory is read again when it has changed.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from edge.wire.quantities import QUANTITIES
from gateway.api.problems import ProblemError, not_found
from ingest_service.storage.contract.area_tree import areas_above, areas_below, parents_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ingest_service.storage.contract.models import Area, Device, Directory, Node, Series, Site
    from ingest_service.storage.contract.store import Reader

VERSION_CHECK_INTERVAL_S = 1.0


class DirectoryIndex:
    """Directory with indexes by id; may be restricted to the areas of a principal.

    Parameters
    ----------
    directory : areas, sites, devices, series and networks
    visible_area_ids : areas whose contents it has (other areas in it are parents, by name only); None is all

    """

    def __init__(self, directory: Directory, visible_area_ids: Iterable[str] | None = None) -> None:
        self.directory = directory
        self.visible_area_ids = frozenset(
            {one.area_id for one in directory.areas} if visible_area_ids is None else visible_area_ids
        )
        self.is_unrestricted = visible_area_ids is None
        """Whether it contains the whole directory."""

    @cached_property
    def sites(self) -> dict[str, Site]:
        """Sites by id."""
        return {one.site_id: one for one in self.directory.sites}

    @cached_property
    def areas(self) -> dict[str, Area]:
        """Areas by id, those above the visible ones included."""
        return {one.area_id: one for one in self.directory.areas}

    @cached_property
    def repeated_names(self) -> frozenset[str]:
        """English and Chinese names that several sites have, such as those on one river in two towns."""
        counts = Counter(name for one in self.directory.sites for name in {one.en, one.zh})
        return frozenset(name for name, count in counts.items() if count > 1)

    @cached_property
    def series(self) -> dict[int, Series]:
        """Series by id."""
        return {one.series_id: one for one in self.directory.series}

    @cached_property
    def devices(self) -> dict[str, Device]:
        """Devices by id."""
        return {one.device_id: one for one in self.directory.devices}

    @cached_property
    def nodes(self) -> dict[str, Node]:
        """Nodes by id."""
        return {one.node_id: one for one in self.directory.nodes}

    def areas_below(self, area_id: str) -> set[str]:
        """Return the ids of an area and all below it. Raises `ProblemError` where the area does not exist."""
        if area_id not in self.visible_area_ids:
            raise not_found("area", area_id)
        return areas_with_descendants(self.directory, [area_id])

    def sites_of(
        self, *, area: str | None = None, site: str | None = None, kind: str | None = None
    ) -> list[Site]:
        """Return sites by area (with all below it), id and kind. Raises `ProblemError` for an unknown id."""
        if site is not None and site not in self.sites:
            raise not_found("site", site)
        areas = None if area is None else self.areas_below(area)
        return [
            one
            for one in self.directory.sites
            if (areas is None or one.area_id in areas)
            and (site is None or one.site_id == site)
            and (kind is None or one.kind == kind)
        ]

    def series_of(
        self, *, area: str | None = None, site: str | None = None, quantity: str | None = None
    ) -> list[Series]:
        """Return series by area, site and quantity. Raises `ProblemError` where one of them is unknown."""
        check_quantity(quantity)
        sites = {one.site_id for one in self.sites_of(area=area, site=site)}
        return [
            one
            for one in self.directory.series
            if one.site_id in sites and (quantity is None or one.quantity == quantity)
        ]


def check_quantity(quantity: str | None) -> None:
    """Raise `ProblemError` where a quantity is unknown."""
    if quantity is not None and quantity not in QUANTITIES:
        available = ", ".join(QUANTITIES)
        raise ProblemError(
            422, f"quantity: there is no {quantity!r}; there are {available}", where="quantity"
        )


def areas_with_descendants(directory: Directory, areas: Iterable[str]) -> set[str]:
    """Return the ids of those of the areas that exist, and of all below them."""
    return areas_below(directory.areas, *({one.area_id for one in directory.areas} & set(areas)))


def restricted_to_areas(directory: Directory, areas: Iterable[str]) -> DirectoryIndex:
    """Return the part of a directory in some areas and below them, and the areas above by name."""
    visible_area_ids = areas_with_descendants(directory, areas)
    parents = parents_of(directory.areas)
    named_areas = {above for one in visible_area_ids for above in areas_above(parents, one)}
    sites = [one for one in directory.sites if one.area_id in visible_area_ids]
    site_ids = {one.site_id for one in sites}
    nodes = [one for one in directory.nodes if one.area_id in visible_area_ids]
    node_ids = {one.node_id for one in nodes}
    past_nodes = [one for one in directory.past_nodes if one.node.area_id in visible_area_ids]
    past_node_ids = node_ids | {one.node.node_id for one in past_nodes}
    series = [one for one in directory.series if one.site_id in site_ids]
    return DirectoryIndex(
        msgspec.structs.replace(
            directory,
            areas=[one for one in directory.areas if one.area_id in named_areas],
            sites=sites,
            devices=[one for one in directory.devices if one.area_id in visible_area_ids],
            series=series,
            channels=[one for one in directory.channels if one.site_id in site_ids],
            nodes=nodes,
            links=[one for one in directory.links if {one.from_node, one.to_node} <= node_ids],
            past_nodes=past_nodes,
            past_links=[
                one for one in directory.past_links if {one.link.from_node, one.link.to_node} <= past_node_ids
            ],
        ),
        visible_area_ids,
    )


class DirectoryCache:
    """Cache of the directory; checks its version in the store at most once a second."""

    def __init__(self, store: Reader) -> None:
        self._store = store
        self._restricted_indexes: dict[tuple[str, ...], DirectoryIndex] = {}
        self._lock = threading.Lock()
        self._current_index: DirectoryIndex | None = None
        self._checked_s = 0.0
        self.change_count = 0
        """Number of invalidations; the process for heavy requests invalidates its cache when it has grown."""

    def full_directory(self) -> Directory:
        """Read the directory from the store, without the cache."""
        return self._store.directory()

    def invalidate(self) -> None:
        """Check the version at the next access, so that a change by this process is visible at once."""
        with self._lock:
            self._checked_s = -math.inf
            self.change_count += 1

    def directory_index(self, areas: tuple[str, ...] | None = None) -> DirectoryIndex:
        """Return the directory of some areas or all, at most 1 s old. Raises `StoreUnavailableError`."""
        with self._lock:
            return self._current_or_refreshed(areas)

    def cached_index(self, areas: tuple[str, ...] | None = None) -> DirectoryIndex:
        """Return the directory of some areas, or of all, as last read; no query, but for the first read."""
        directory_index = self._current_index
        if directory_index is None:
            return self.directory_index(areas)
        if areas is None:
            return directory_index
        result = self._restricted_indexes.get(areas)
        if result is not None:
            return result
        if not self._lock.acquire(blocking=False):  # another thread reads the directory, which may take long
            return restricted_to_areas(directory_index.directory, areas)
        try:
            return self._restricted_index(areas)
        finally:
            self._lock.release()

    def _current_or_refreshed(self, areas: tuple[str, ...] | None) -> DirectoryIndex:
        now_s = time.monotonic()
        if self._current_index is None or now_s - self._checked_s >= VERSION_CHECK_INTERVAL_S:
            version = self._store.directory_version()
            if self._current_index is None or version != self._current_index.directory.version:
                self._current_index = DirectoryIndex(self._store.directory())
                self._restricted_indexes = {}
            self._checked_s = now_s
        return self._current_index if areas is None else self._restricted_index(areas)

    def _restricted_index(self, areas: tuple[str, ...]) -> DirectoryIndex:
        assert self._current_index is not None, "it was read"  # noqa: S101
        if areas not in self._restricted_indexes:
            self._restricted_indexes[areas] = restricted_to_areas(self._current_index.directory, areas)
        return self._restricted_indexes[areas]
