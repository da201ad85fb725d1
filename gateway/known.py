"""The directory as the gateway uses it: read again when it changed, with look-ups by area and site."""

from __future__ import annotations

import threading
import time
from functools import cached_property
from typing import TYPE_CHECKING

from gateway.problems import not_found

if TYPE_CHECKING:
    from ingest_service.storage.model import Directory, Series, Site
    from ingest_service.storage.store import Store

CHECK_S = 1.0


class Known:
    """A directory with look-ups."""

    def __init__(self, directory: Directory, *, is_whole: bool = True) -> None:
        self.directory = directory
        self.is_whole = is_whole
        """Whether nothing is left out of it."""

    @cached_property
    def sites(self) -> dict[str, Site]:
        """Sites by id."""
        return {one.site_id: one for one in self.directory.sites}

    @cached_property
    def series(self) -> dict[int, Series]:
        """Series by id."""
        return {one.series_id: one for one in self.directory.series}

    def areas_below(self, area_id: str) -> set[str]:
        """An area and all below it. Raises `ProblemError` where there is none."""
        found = {one.area_id for one in self.directory.areas if one.area_id == area_id}
        if not found:
            raise not_found("area", area_id)
        while more := {one.area_id for one in self.directory.areas if one.parent in found} - found:
            found |= more
        return found

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
        """Series by area, site and quantity."""
        sites = {one.site_id for one in self.sites_of(area=area, site=site)}
        return [
            one
            for one in self.directory.series
            if one.site_id in sites and (quantity is None or one.quantity == quantity)
        ]


class Directories:
    """The newest directory; asks the store at most once a second whether it changed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._known: Known | None = None
        self._checked_s = 0.0

    def known(self) -> Known:
        """The directory as it is now. Raises `StoreUnavailable` where it can't be asked for."""
        with self._lock:
            now_s = time.monotonic()
            if self._known is None or now_s - self._checked_s >= CHECK_S:
                version = self._store.directory_version()
                if self._known is None or version != self._known.directory.version:
                    self._known = Known(self._store.directory())
                self._checked_s = now_s
            return self._known
