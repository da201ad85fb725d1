"""Loads the series of a backtest from recorded files or from a time range of the database."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from analytics.core import rounding
from analytics.service import backtest
from deploy.settings import SettingsError
from edge.drivers.file_mapping import MappingError
from edge.wire import quantities
from edge.wire.quantities import QUANTITIES
from ingest_service.storage.contract.models import Series

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from zoneinfo import ZoneInfo

    from numpy.typing import NDArray

    from analytics.service.backtest import SeriesHistory
    from edge.drivers.replay_driver import RecordedSeries, Recording
    from ingest_service.storage.contract.store import Store

PAGE_READINGS = 1_000_000
PROGRESS_READINGS = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingSelection:
    """Filter on readings: sites and quantities (None: all), measured in ``[from_s, to_s)`` [s]."""

    sites: frozenset[str] | None = None
    quantities: frozenset[str] | None = None
    from_s: float = -math.inf
    to_s: float = math.inf

    def selects(self, one: RecordedSeries | Series, site: str) -> bool:
        """Return whether a series at a site is selected."""
        return (self.sites is None or site in self.sites) and (
            self.quantities is None or one.quantity in self.quantities
        )


@dataclass(slots=True)
class _SeriesColumn:
    """Growing columns of the readings of one series, in the wire unit."""

    conversion: quantities.Conversion
    time_s: array[float] = field(default_factory=lambda: array("d"))
    value: array[float] = field(default_factory=lambda: array("d"))

    def converted(self) -> NDArray[np.float64]:
        """Return the values (n,) in the canonical unit, converted as ingest does it."""
        return rounding.convert_and_round(np.array(self.value), self.conversion.scale, self.conversion.offset)


def parse_time(text: str, zone: ZoneInfo) -> float:
    """Return an ISO 8601 time in Unix seconds [s]; without an offset it is in ``zone``. Raises ValueError."""
    read = datetime.fromisoformat(text.strip())
    return (read if read.tzinfo else read.replace(tzinfo=zone)).timestamp()


def histories_of_files(
    recordings: Sequence[Recording], selection: ReadingSelection, on_progress: Callable[[int], None]
) -> list[SeriesHistory]:
    """Return the selected series of recorded files, sorted by site and quantity.

    ``on_progress`` is called with the number of further cells read. Readings of one series from several files
    are merged by time; of two at one time the first is kept. Raises `SettingsError`.
    """
    parts: dict[tuple[str, str], list[_SeriesColumn]] = {}
    for recording in recordings:
        for (site, quantity), column in _columns(recording, selection, on_progress).items():
            parts.setdefault((site, quantity), []).append(column)
    found = []
    for (site, quantity), columns in sorted(parts.items()):
        time_s, first = np.unique(np.concatenate([column.time_s for column in columns]), return_index=True)
        value = np.concatenate([column.converted() for column in columns])[first]
        selected = (time_s >= selection.from_s) & (time_s < selection.to_s)
        found.append(
            backtest.make_history(Series(site_id=site, quantity=quantity), time_s[selected], value[selected])
        )
    return _non_empty(found)


def _columns(
    recording: Recording, selection: ReadingSelection, on_progress: Callable[[int], None]
) -> dict[tuple[str, str], _SeriesColumn]:
    """Return the selected readings of one recording by (site, quantity)."""
    by_channel = {
        one.channel: ((one.site, one.quantity), _SeriesColumn(_conversion(one.quantity)))
        for one in recording.series()
        if selection.selects(one, one.site)
    }
    try:
        for pack in recording.packs(per_pack=PROGRESS_READINGS):
            on_progress(len(pack.records))
            for record in pack.records:
                if record.name in by_channel and record.value is not None:
                    column = by_channel[record.name][1]
                    column.time_s.append(record.time_s)
                    column.value.append(record.value)
    except MappingError as error:
        raise SettingsError(str(error)) from error
    return dict(by_channel.values())


def histories_of_store(
    store: Store, selection: ReadingSelection, on_progress: Callable[[int], None]
) -> list[SeriesHistory]:
    """Return the selected series of the database, with the limits that they are enrolled with.

    ``on_progress`` is called with the number of further readings read. Raises `SettingsError` where a site
    is not enrolled.
    """
    directory = store.directory()
    for site in sorted(selection.sites or ()):
        if site not in {one.site_id for one in directory.sites}:
            site_names = ", ".join(one.site_id for one in directory.sites[:12])
            raise SettingsError(f"--site {site}: there is no such site; there are {site_names or 'none'}")
    selected = [one for one in directory.series if selection.selects(one, one.site_id)]
    found = []
    for series in sorted(selected, key=lambda one: (one.site_id, one.quantity)):
        pages, from_s = [], selection.from_s
        while True:
            page = store.readings(series.series_id, from_s, selection.to_s, limit=PAGE_READINGS)
            pages.append(page)
            on_progress(len(page))
            if len(page) < PAGE_READINGS:
                break
            from_s = (int(page["time_us"][-1]) + 1) / 1e6
        rows = np.concatenate(pages)
        found.append(backtest.make_history(series, rows["time_us"] / 1e6, rows["value"].astype(np.float64)))
    return _non_empty(found)


def _non_empty(found: list[SeriesHistory]) -> list[SeriesHistory]:
    """Return the histories with at least one reading. Raises `SettingsError` where there are none."""
    some = [one for one in found if len(one.time_s)]
    if not some:
        raise SettingsError(
            "no reading is left to judge: check --site, --quantity, --from and --to against what is there"
        )
    return some


def _conversion(quantity: str) -> quantities.Conversion:
    return quantities.to_canonical(QUANTITIES[quantity], None)
