"""Turns counters that only rise to rates between two readings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.drivers.measured_record import measured_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edge.wire.senml import Record


class CounterRates:
    """Rates of the channels that are counters; records of other channels are passed on.

    Parameters
    ----------
    quantities : channel of each counter -> its quantity, or None where the channel is named for it

    Examples
    --------
    >>> from edge.wire.senml import Record
    >>> rates = CounterRates({"traffic_flow": None})
    >>> readings = [Record(name="traffic_flow", time_s=at, value=n) for at, n in ((0.0, 7.0), (60.0, 19.0))]
    >>> [record.value for record in rates.records(readings)]
    [0.2]

    """

    def __init__(self, quantities: Mapping[str, str | None]) -> None:
        self._quantities = quantities
        self._last: dict[str, tuple[float, float]] = {}

    def records(self, records: Iterable[Record]) -> list[Record]:
        """Return the records, with a rate [1/s] in place of each total.

        A counter's first total, one that is lower than the last (the counter has restarted) and one that is
        not newer have no rate.
        """
        rates = (self._rate(one) if one.name in self._quantities else one for one in records)
        return [one for one in rates if one is not None]

    def forget(self) -> None:
        """Forget the last totals, where the counter may have restarted unnoticed."""
        self._last.clear()

    def _rate(self, record: Record) -> Record | None:
        value = record.value if record.value is not None else 0.0
        last, self._last[record.name] = self._last.get(record.name), (record.time_s, value)
        if last is None or value < last[1] or record.time_s <= last[0]:
            return None
        rate = (value - last[1]) / (record.time_s - last[0])
        return measured_record(
            record.name, rate, "1/s", record.time_s, quantity=self._quantities[record.name]
        )
