"""Simulates a cluster of towns, and provides the drivers of its devices.

All readings are determined by the seed, the present and the plan: each series has its own random generator,
so that the readings do not depend on the order in which devices are read.
"""

from __future__ import annotations

from itertools import count
from math import ceil
from random import Random
from typing import TYPE_CHECKING

from edge.drivers import Pack
from edge.simulator import traffic, water
from edge.simulator.faults import Fault, Kind
from edge.simulator.river import River
from edge.simulator.sensor import sensor
from edge.simulator.spec import Place, Spec, SpecError
from edge.simulator.weather import Weather
from edge.wire.quantities import QUANTITIES
from edge.wire.senml import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MISSED_TICK = 0.0005  # share of ticks at which a device sends nothing
OUTAGE = 0.0001  # share of ticks at which a short outage of the device begins
OUTAGE_TICKS = (2, 3)


class Town:
    """A cluster of towns on one river and road network.

    Parameters
    ----------
    spec : sites and networks
    seed : the same seed gives the same readings
    live_from_s : the present, where the history ends, Unix seconds [s]
    history_s : length of the history before it [s]
    plan : faults, with times relative to the present

    Raises
    ------
    SpecError
        If the river is not a tree, or a quantity can't be simulated at its site.
    """

    def __init__(
        self, spec: Spec, *, seed: int, live_from_s: float, history_s: float, plan: Sequence[Fault] = ()
    ) -> None:
        self.spec = spec
        self.live_from_s = live_from_s
        self.begins_s = live_from_s - history_s
        self._seed = seed
        self._plan = list(plan)
        self._river = River(spec, seed)
        self._weather = Weather(seed, live_from_s)
        self._places = {place.device_id: place for place in spec.places}
        for place in spec.places:
            self._readers(place)

    @property
    def river(self) -> River:
        """River network: flows and travel times."""
        return self._river

    def driver(self, device_id: str, *, start_s: float | None = None, ticks_per_pack: int = 12) -> TownDriver:
        """Return the driver of one device.

        Parameters
        ----------
        device_id : id of the device
        start_s : time of the first readings; by default the start of the history, Unix seconds [s]
        ticks_per_pack : ticks of the history in one message; live ticks are sent one by one

        Raises
        ------
        SpecError
            If the town has no such device.
        """
        place = self._places.get(device_id)
        if place is None:
            raise SpecError(f"the town has no device {device_id!r}: it has {', '.join(sorted(self._places))}")
        return TownDriver(self, place, start_s=start_s, ticks_per_pack=ticks_per_pack)

    def readings(self, place: Place) -> Iterator[tuple[float, list[Record]]]:
        """Yield every tick of a site from the start of the history, endlessly: measured time [s], records.

        A tick in a gap has no records.
        """
        truth, readers = self._readers(place)
        channels = [(name, QUANTITIES[name].wire_unit) for name in place.quantities]
        mute = self._mute(place)
        for tick in count(ceil((self.begins_s - place.phase_s) / place.interval_s)):
            time_s = tick * place.interval_s + place.phase_s
            values = [read(time_s, true) for read, true in zip(readers, truth(time_s), strict=True)]
            records = [
                Record(name=name, time_s=time_s, value=value, unit=unit)
                for (name, unit), value in zip(channels, values, strict=True)
            ]
            yield time_s, [] if mute(time_s) else records

    def _readers(
        self, place: Place
    ) -> tuple[Callable[[float], list[float]], list[Callable[[float, float], float]]]:
        """Return the function of a site's true values, and a sensor for each quantity."""
        origin_s, seed, plan = self.live_from_s, self._seed, self._plan
        if place.kind == "road_section":
            truth = traffic.site(place, self.spec.road, plan=plan, seed=seed, origin_s=origin_s)
        else:
            truth = water.site(
                place, river=self._river, weather=self._weather, plan=plan, seed=seed, origin_s=origin_s
            )
        here = [fault for fault in plan if place.site_id in fault.site_ids]
        readers = [
            sensor(
                QUANTITIES[name],
                place.site_id,
                [fault for fault in here if name in fault.quantities],
                seed=seed,
                origin_s=origin_s,
            )
            for name in place.quantities
        ]
        return truth, readers

    def _mute(self, place: Place) -> Callable[[float], bool]:
        """Build a function that decides whether a device sends nothing; must be called tick by tick."""
        draw = Random(f"{self._seed}/{place.device_id}/gaps")
        silent = [
            fault for fault in self._plan if fault.kind is Kind.SILENT and place.device_id in fault.device_ids
        ]
        spikes = [
            fault for fault in self._plan if fault.kind is Kind.SPIKE and place.site_id in fault.site_ids
        ]
        out = 0

        def mute(time_s: float) -> bool:
            nonlocal out
            chance = draw.random()
            since_s = time_s - self.live_from_s
            if out:
                out -= 1
            elif chance < OUTAGE:
                out = draw.randint(*OUTAGE_TICKS)
            missed = out > 0 or chance < OUTAGE + MISSED_TICK
            if any(fault.covers(since_s) for fault in spikes):
                return False  # a planned spike must not be lost in a gap
            return missed or any(fault.covers(since_s) for fault in silent)

        return mute


class TownDriver:
    """Driver of one simulated device; every call of `packs` starts from the beginning."""

    def __init__(self, town: Town, place: Place, *, start_s: float | None, ticks_per_pack: int) -> None:
        self._town = town
        self._place = place
        self._start_s = town.begins_s if start_s is None else start_s
        self._ticks_per_pack = ticks_per_pack

    def packs(self) -> Iterator[Pack]:
        """Yield packs in order of time, endlessly; a pack is due at the measured time of its last tick."""
        records: list[Record] = []
        ticks = 0
        due_s = self._start_s
        for time_s, now in self._town.readings(self._place):
            if time_s < self._start_s:
                continue
            live = time_s >= self._town.live_from_s
            if records and (live or ticks >= self._ticks_per_pack):
                yield Pack(due_s=due_s, records=records)
                records, ticks = [], 0
            ticks += 1
            if now:
                records, due_s = records + now, time_s
            if records and live:
                yield Pack(due_s=due_s, records=records)
                records, ticks = [], 0
