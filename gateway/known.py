"""Cached directory of areas, sites and series, read again when it changed."""

from __future__ import annotations

import math
import threading
import time
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from edge.wire.quantities import QUANTITIES
from gateway.problems import ProblemError, not_found

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ingest_service.storage.model import Device, Directory, Node, Series, Site
    from ingest_service.storage.store import Reader

CHECK_S = 1.0


class Known:
    """A directory with look-ups; areas that are not its own are there by name only."""

    def __init__(self, directory: Directory, own: Iterable[str] | None = None) -> None:
        self.directory = directory
        self.own = frozenset({one.area_id for one in directory.areas} if own is None else own)
        self.is_whole = own is None
        """Whether nothing is left out of it."""

    @cached_property
    def sites(self) -> dict[str, Site]:
        """Sites by id."""
        return {one.site_id: one for one in self.directory.sites}

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
        """An area and all below it. Raises `ProblemError` where there is none."""
        if area_id not in self.own:
            raise not_found("area", area_id)
        return below(self.directory, [area_id])

    def sites_of(
        self, *, area: str | None = None, site: str | None = None, kind: str | None = None
    ) -> list[Site]:
        """Sites by area (with all below it), id and kind; `ProblemError` where none has that name."""
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
        """Series by area, site and quantity; `ProblemError` where one of them is unknown."""
        check_quantity(quantity)
        sites = {one.site_id for one in self.sites_of(area=area, site=site)}
        return [
            one
            for one in self.directory.series
            if one.site_id in sites and (quantity is None or one.quantity == quantity)
        ]


def check_quantity(quantity: str | None) -> None:
    """Raises `ProblemError` where there is no such quantity."""
    if quantity is not None and quantity not in QUANTITIES:
        there = ", ".join(QUANTITIES)
        raise ProblemError(422, f"quantity: there is no {quantity!r}; there are {there}", where="quantity")


def below(directory: Directory, areas: Iterable[str]) -> set[str]:
    """Those of some areas that there are, and all below them."""
    found = {one.area_id for one in directory.areas} & set(areas)
    while more := {one.area_id for one in directory.areas if one.parent in found} - found:
        found |= more
    return found


def within(directory: Directory, areas: Iterable[str]) -> Known:
    """What is enrolled in some areas and below them, and the names of the areas above."""
    own = below(directory, areas)
    parents = {one.area_id: one.parent for one in directory.areas}
    named = set(own)
    while more := {parents[one] for one in named} - named - {None}:
        named |= {one for one in more if one}
    sites = [one for one in directory.sites if one.area_id in own]
    site_ids = {one.site_id for one in sites}
    nodes = [one for one in directory.nodes if one.area_id in own]
    node_ids = {one.node_id for one in nodes}
    series = [one for one in directory.series if one.site_id in site_ids]
    return Known(
        msgspec.structs.replace(
            directory,
            areas=[one for one in directory.areas if one.area_id in named],
            sites=sites,
            devices=[one for one in directory.devices if one.area_id in own],
            series=series,
            channels=[one for one in directory.channels if one.site_id in site_ids],
            nodes=nodes,
            links=[one for one in directory.links if {one.from_node, one.to_node} <= node_ids],
        ),
        own,
    )


class Directories:
    """The newest directory; asks the store at most once a second whether it changed."""

    def __init__(self, store: Reader) -> None:
        self._store = store
        self._within: dict[tuple[str, ...], Known] = {}
        self._lock = threading.Lock()
        self._known: Known | None = None
        self._checked_s = 0.0
        self.changes = 0
        """How often this process has changed something: another process reads the store again then."""

    def whole(self) -> Directory:
        """The directory as the store has it at this moment."""
        return self._store.directory()

    def changed(self) -> None:
        """Ask the store before the next look: who changed something sees it at once."""
        with self._lock:
            self._checked_s = -math.inf
            self.changes += 1

    def known(self, areas: tuple[str, ...] | None = None) -> Known:
        """The directory of some areas, or of all, as it is now. Raises `StoreUnavailable`."""
        with self._lock:
            return self._read(areas)

    def held(self, areas: tuple[str, ...] | None = None) -> Known:
        """The directory of some areas, or of all, as it was last read: without the database, once it was."""
        known = self._known
        if known is None:
            return self.known(areas)
        if areas is None:
            return known
        found = self._within.get(areas)
        if found is not None:
            return found
        if not self._lock.acquire(blocking=False):  # somebody reads it just now, and that may take long
            return within(known.directory, areas)
        try:
            return self._of(areas)
        finally:
            self._lock.release()

    def _read(self, areas: tuple[str, ...] | None) -> Known:
        now_s = time.monotonic()
        if self._known is None or now_s - self._checked_s >= CHECK_S:
            version = self._store.directory_version()
            if self._known is None or version != self._known.directory.version:
                self._known = Known(self._store.directory())
                self._within = {}
            self._checked_s = now_s
        return self._known if areas is None else self._of(areas)

    def _of(self, areas: tuple[str, ...]) -> Known:
        assert self._known is not None, "it was read"  # noqa: S101
        if areas not in self._within:
            self._within[areas] = within(self._known.directory, areas)
        return self._within[areas]
