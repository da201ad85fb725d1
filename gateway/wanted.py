"""Filter of live events by area, site, quantity and kind, within the principal's areas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import news as news_of
from gateway.known import check_quantity

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from gateway.known import Known
    from gateway.news import News


class Wanted:
    """Filters, joined by "and", on the directory as a reader sees it at each moment.

    Parameters
    ----------
    known : the reader's directory, as it is now
    kinds : of news; None is all of them

    Raises
    ------
    ProblemError
        Where there is no such area, site or quantity.

    """

    def __init__(
        self,
        known: Callable[[], Known],
        *,
        area: str | None = None,
        site: str | None = None,
        quantity: str | None = None,
        kinds: Collection[str] | None = None,
    ) -> None:
        check_quantity(quantity)
        self._directory = known
        self._area, self._site, self._quantity = area, site, quantity
        self._kinds = None if kinds is None else {*kinds, "gap", "end"}
        self._known: Known | None = None
        self._look()

    def takes(self, kind: str) -> bool:
        """Whether events of a kind are wanted."""
        return self._kinds is None or kind in self._kinds

    def series_ids(self) -> list[int]:
        """The series whose readings are wanted."""
        self._look()
        return sorted(self._series) if self.takes("reading") else []

    def site_ids(self) -> list[str]:
        """The sites whose anomalies may be wanted."""
        self._look()
        return sorted(self._sites)

    def among(self, news: Iterable[News]) -> Iterator[News]:
        """Those of some news that are wanted, as the reader may see them."""
        known = self._look()
        return (news_of.seen(one, known) for one in news if self._is_wanted(one))

    def _is_wanted(self, one: News) -> bool:
        if not self.takes(one.kind):
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
        return True

    def _look(self) -> Known:
        known = self._directory()
        if known is self._known:
            return known
        directory = known.directory
        self._sites = {one.site_id for one in known.sites_of(area=self._area, site=self._site)}
        self._series = {
            one.series_id
            for one in directory.series
            if one.site_id in self._sites and self._quantity in {None, one.quantity}
        }
        if self._site is None and self._quantity is None:
            areas = known.own if self._area is None else known.areas_below(self._area)
            self._devices = {one.device_id for one in directory.devices if one.area_id in areas}
        else:
            self._devices = {one.device_id for one in directory.channels if one.series_id in self._series}
        self._known = known
        return known
