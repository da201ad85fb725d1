"""Filters live events by area, site, quantity and kind, within the principal's areas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.api.directory_cache import check_quantity
from gateway.live import events as live_events

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from gateway.api.directory_cache import DirectoryIndex
    from gateway.live.events import LiveEvent
    from ingest_service.storage.contract.incidents import Incident


class EventFilter:
    """Conditions on live events, all of which must hold; follows changes of the principal's directory.

    Parameters
    ----------
    directory_index : returns the principal's current directory
    area : area, with all below it
    site : site id
    quantity : quantity of the series; device events pass by the series of their channels
    kinds : kinds of events; None is all of them. Gap and end events always pass.
    team_ids : teams whose incidents pass; None is all of them
    with_notifications : whether notifications of the areas pass, which name members of teams

    Raises
    ------
    ProblemError
        Where there is no such area, site or quantity.

    """

    def __init__(
        self,
        directory_index: Callable[[], DirectoryIndex],
        *,
        area: str | None = None,
        site: str | None = None,
        quantity: str | None = None,
        kinds: Collection[str] | None = None,
        team_ids: Collection[str] | None = None,
        with_notifications: bool = False,
    ) -> None:
        check_quantity(quantity)
        self._read_index = directory_index
        self._area, self._site, self._quantity = area, site, quantity
        self._team_ids = team_ids
        self._with_notifications = with_notifications
        self._accepted_kinds = None if kinds is None else {*kinds, "gap", "end"}
        self._last_index: DirectoryIndex | None = None
        self._refresh()

    def accepts_kind(self, kind: str) -> bool:
        """Whether events of a kind pass."""
        return self._accepted_kinds is None or kind in self._accepted_kinds

    def series_ids(self) -> list[int]:
        """Return the ids of the series whose readings pass."""
        self._refresh()
        return sorted(self._series) if self.accepts_kind("reading") else []

    def site_ids(self) -> list[str]:
        """Return the ids of the sites whose anomalies may pass."""
        self._refresh()
        return sorted(self._sites)

    def matching(self, events: Iterable[LiveEvent]) -> Iterator[LiveEvent]:
        """Return the events that pass, with evidence redacted for the principal."""
        directory_index = self._refresh()
        return (live_events.redacted_event(one, directory_index) for one in events if self._matches(one))

    def _matches(self, one: LiveEvent) -> bool:  # noqa: PLR0911 - one for each kind
        if not self.accepts_kind(one.kind):
            return False
        match one.kind:
            case "reading":
                return one.series_id in self._series
            case "anomaly":
                return one.site_id in self._sites and (
                    self._quantity is None or one.series_id in self._series
                )
            case "health":
                return one.device_id in self._devices
            case "notification":
                return self._with_notifications and one.area_id in self._areas
            case "incident":
                return one.source_incident is not None and self._matches_incident(one.source_incident)
        return True

    def _matches_incident(self, one: Incident) -> bool:
        """Whether an incident touches the chosen areas or site; a quantity chooses none of them."""
        return (
            self._quantity is None
            and (self._team_ids is None or one.team_id in self._team_ids)
            and not self._areas.isdisjoint(one.area_ids)
            and (self._site is None or self._site in {one.main_site_id, *one.site_ids})
        )

    def _refresh(self) -> DirectoryIndex:
        directory_index = self._read_index()
        if directory_index is self._last_index:
            return directory_index
        directory = directory_index.directory
        self._areas = (
            directory_index.visible_area_ids
            if self._area is None
            else frozenset(directory_index.areas_below(self._area))
        )
        self._sites = {one.site_id for one in directory_index.sites_of(area=self._area, site=self._site)}
        self._series = {
            one.series_id
            for one in directory.series
            if one.site_id in self._sites and self._quantity in {None, one.quantity}
        }
        if self._site is None and self._quantity is None:
            areas = (
                directory_index.visible_area_ids
                if self._area is None
                else directory_index.areas_below(self._area)
            )
            self._devices = {one.device_id for one in directory.devices if one.area_id in areas}
        else:
            self._devices = {one.device_id for one in directory.channels if one.series_id in self._series}
        self._last_index = directory_index
        return directory_index
