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
from edge.simulator import traffic_site, water_site
from edge.simulator.fault_plan import FaultKind, PlannedFault
from edge.simulator.river import River
from edge.simulator.sensor import make_sensor
from edge.simulator.town_spec import SimulatedSite, TownSpec, TownSpecError
from edge.simulator.weather import Weather
from edge.wire.quantities import QUANTITIES
from edge.wire.senml import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MISSED_TICK_SHARE = 0.0005  # share of ticks at which a device sends nothing
OUTAGE_SHARE = 0.0001  # share of ticks at which a short outage of the device begins
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
        self,
        spec: TownSpec,
        *,
        seed: int,
        live_from_s: float,
        history_s: float,
        plan: Sequence[PlannedFault] = (),
    ) -> None:
        self.spec = spec
        self.live_from_s = live_from_s
        self.begins_s = live_from_s - history_s
        self._seed = seed
        self._plan = list(plan)
        self._river = River(spec, seed)
        self._weather = Weather(seed, live_from_s)
        self._sites_by_device = {
            simulated_site.device_id: simulated_site for simulated_site in spec.simulated_sites
        }
        for simulated_site in spec.simulated_sites:
            self._readers(simulated_site)

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
        simulated_site = self._sites_by_device.get(device_id)
        if simulated_site is None:
            raise TownSpecError(
                f"the town has no device {device_id!r}: it has {', '.join(sorted(self._sites_by_device))}"
            )
        return TownDriver(self, simulated_site, start_s=start_s, ticks_per_pack=ticks_per_pack)

    def readings(self, simulated_site: SimulatedSite) -> Iterator[tuple[float, list[Record]]]:
        """Yield every tick of a site from the start of the history, endlessly: measured time [s], records.

        A tick in a gap has no records.
        """
        true_values, readers = self._readers(simulated_site)
        channels = [(name, QUANTITIES[name].wire_unit) for name in simulated_site.quantities]
        in_gap = self._gap_function(simulated_site)
        for tick in count(ceil((self.begins_s - simulated_site.phase_s) / simulated_site.interval_s)):
            time_s = tick * simulated_site.interval_s + simulated_site.phase_s
            values = [
                read(time_s, true_value)
                for read, true_value in zip(readers, true_values(time_s), strict=True)
            ]
            records = [
                Record(name=name, time_s=time_s, value=value, unit=unit)
                for (name, unit), value in zip(channels, values, strict=True)
            ]
            yield time_s, [] if in_gap(time_s) else records

    def _readers(
        self, simulated_site: SimulatedSite
    ) -> tuple[Callable[[float], list[float]], list[Callable[[float, float], float]]]:
        """Return the function of a site's true values, and a sensor for each quantity."""
        origin_s, seed, plan = self.live_from_s, self._seed, self._plan
        if simulated_site.kind == "road_section":
            true_values = traffic_site.traffic_site(
                simulated_site, self.spec.road, plan=plan, seed=seed, origin_s=origin_s
            )
        else:
            true_values = water_site.water_site(
                simulated_site,
                river=self._river,
                weather=self._weather,
                plan=plan,
                seed=seed,
                origin_s=origin_s,
            )
        site_faults = [fault for fault in plan if simulated_site.site_id in fault.site_ids]
        readers = [
            make_sensor(
                QUANTITIES[name],
                simulated_site.site_id,
                [fault for fault in site_faults if name in fault.quantities],
                seed=seed,
                origin_s=origin_s,
            )
            for name in simulated_site.quantities
        ]
        return true_values, readers

    def _gap_function(self, simulated_site: SimulatedSite) -> Callable[[float], bool]:
        """Build a function that decides whether a device sends nothing; must be called tick by tick."""
        random_source = Random(f"{self._seed}/{simulated_site.device_id}/gaps")
        silent = [
            fault
            for fault in self._plan
            if fault.kind is FaultKind.SILENT and simulated_site.device_id in fault.device_ids
        ]
        planned_spikes = [
            fault
            for fault in self._plan
            if fault.kind is FaultKind.SPIKE and simulated_site.site_id in fault.site_ids
        ]
        outage_ticks_left = 0

        def in_gap(time_s: float) -> bool:
            nonlocal outage_ticks_left
            chance = random_source.random()
            since_s = time_s - self.live_from_s
            if outage_ticks_left:
                outage_ticks_left -= 1
            elif chance < OUTAGE_SHARE:
                outage_ticks_left = random_source.randint(*OUTAGE_TICKS)
            missed = outage_ticks_left > 0 or chance < OUTAGE_SHARE + MISSED_TICK_SHARE
            if any(fault.is_active(since_s) for fault in planned_spikes):
                return False  # a planned spike must not be lost in a gap
            return missed or any(fault.is_active(since_s) for fault in silent)

        return in_gap


class TownDriver:
    """Driver of one simulated device; every call of `packs` starts from the beginning."""

    def __init__(
        self, town: Town, simulated_site: SimulatedSite, *, start_s: float | None, ticks_per_pack: int
    ) -> None:
        self._town = town
        self._simulated_site = simulated_site
        self._start_s = town.begins_s if start_s is None else start_s
        self._ticks_per_pack = ticks_per_pack

    def packs(self) -> Iterator[Pack]:
        """Yield packs in order of time, endlessly; a pack is due at the measured time of its last tick."""
        records: list[Record] = []
        ticks = 0
        due_s = self._start_s
        for time_s, tick_records in self._town.readings(self._simulated_site):
            if time_s < self._start_s:
                continue
            is_live = time_s >= self._town.live_from_s
            if records and (is_live or ticks >= self._ticks_per_pack):
                yield Pack(due_s=due_s, records=records)
                records, ticks = [], 0
            ticks += 1
            if tick_records:
                records, due_s = records + tick_records, time_s
            if records and is_live:
                yield Pack(due_s=due_s, records=records)
                records, ticks = [], 0
