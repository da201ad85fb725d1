"""Seeded storm of anomalies over the demo towns in one day, labelled with the event that each belongs to.

A thunderstorm, a power cut, a sewage slug through three towns, 30 flapping sensors, and what happens on any
day: discharges, accidents, drifting and stuck sensors, single spikes, single silent devices. Every anomaly is
first open, and changes once it is over; events at sites get their cause a while later, as the
judging of sites gives it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import numpy as np

from analytics.incidents.site_relations import SiteRelations, site_relations
from deploy import demo
from ingest_service.storage.contract.models import Anomaly, Directory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.storage.contract.models import Series

HOUR_S: Final = 3600.0
MINUTE_S: Final = 60.0
DAY_S: Final = 24 * HOUR_S
START_S: Final = 1_790_000_000.0 // DAY_S * DAY_S
CUT_S: Final = START_S + 15 * HOUR_S
CUT_LASTS_S: Final = 1.5 * HOUR_S
N_FLAPPING: Final = 30
DETECTED_AFTER_S: Final = 5 * MINUTE_S  # an interval of a sensor


class Change(NamedTuple):
    """An anomaly as it is recorded at a time of the platform's clock [s]."""

    at_s: float
    anomaly: Anomaly


@dataclass
class Storm:
    """The directory, the changes in the order of their time, and the event of each anomaly by its id."""

    directory: Directory
    relations: SiteRelations
    changes: list[Change] = field(default_factory=list)
    event_of: dict[int, str] = field(default_factory=dict)

    @property
    def events(self) -> list[str]:
        """Names of the planned events."""
        return sorted(set(self.event_of.values()))


def demo_directory() -> Directory:
    """Return the demo's directory with series ids, as a store would give them."""
    directory = demo.directory()
    numbered = [msgspec.structs.replace(one, series_id=k) for k, one in enumerate(directory.series, start=1)]
    return msgspec.structs.replace(directory, series=numbered)


def make_storm(*, anomalies: int = 10_000, seed: int = 1) -> Storm:
    """Return a storm of about so many anomalies; the same one for the same seed."""
    directory = demo_directory()
    storm = Storm(directory, site_relations(directory))
    writer = _StormWriter(storm, np.random.default_rng(seed))
    writer.slug()
    writer.thunderstorm()
    writer.power_cut()
    writer.ordinary_day()
    writer.flapping(anomalies - len(storm.event_of))
    storm.changes.sort(key=lambda one: (one.at_s, one.anomaly.anomaly_id))
    storm.changes = [
        one._replace(anomaly=msgspec.structs.replace(one.anomaly, revision=k))
        for k, one in enumerate(storm.changes, start=1)
    ]
    return storm


class _StormWriter:
    def __init__(self, storm: Storm, random: np.random.Generator) -> None:
        self._storm, self._random = storm, random
        self._area_without_power = min(one.area_id for one in storm.directory.devices)
        self._sites = {one.site_id: one for one in storm.directory.sites}
        self._series: dict[str, list[Series]] = {}
        for one in storm.directory.series:
            self._series.setdefault(one.site_id, []).append(one)
        self._single: set[str] = set()  # sites of a single faulty sensor
        self._busy: set[int] = set()  # series of an event, which does not flap beside it

    def slug(self) -> None:
        """Write a sewage slug from town A on: each section in turn, by the travel time of the water."""
        relations = self._storm.relations
        river = [k for k, kind in enumerate(relations.kinds) if kind == "river_section"]
        reach = np.isfinite(relations.travel_s[np.ix_(river, river)]).sum(axis=1)
        first = river[int(reach.argmax())]
        for k in river:
            travel_s = relations.travel_s[first, k]
            if not np.isfinite(travel_s) or travel_s > 20 * HOUR_S:
                continue
            start_s = START_S + 1 * HOUR_S + travel_s * self._random.uniform(0.85, 1.15)
            lasts_s = (1.5 + 0.1 * travel_s / HOUR_S) * HOUR_S
            for quantity in ("ammonia_nitrogen", "conductivity", "dissolved_oxygen"):
                for part in range(self._random.integers(1, 4)):
                    begin_s = start_s + self._random.uniform(-10, 20) * MINUTE_S + part * lasts_s / 3
                    self._of_series(relations.site_ids[k], quantity, "residual", begin_s, lasts_s / 3, "slug")
            self._of_site(relations.site_ids[k], "cause/sewage", start_s, lasts_s, "slug", unnamed_s=1800.0)

    def thunderstorm(self) -> None:
        """Write four hours of rain over all towns: rain gauges, turbidity, level, many times each."""
        begin_s = START_S + 13 * HOUR_S
        for one in self._storm.directory.sites:
            if one.kind == "rain_gauge":
                self._of_series(one.site_id, None, "novelty", begin_s, 4 * HOUR_S, "thunderstorm")
            if one.kind not in {"river_section", "outfall"}:
                continue
            delay_s = self._random.uniform(5, 40) * MINUTE_S
            self._of_site(
                one.site_id,
                "cause/rain_turbidity",
                begin_s + delay_s,
                5 * HOUR_S,
                "thunderstorm",
                unnamed_s=900.0,
            )
            for quantity in ("turbidity", "water_level", "discharge"):
                for _ in range(18):
                    at_s = begin_s + delay_s + self._random.uniform(0.2, 5) * HOUR_S
                    lasts_s = self._random.uniform(5, 40) * MINUTE_S
                    self._of_series(one.site_id, quantity, "residual", at_s, lasts_s, "thunderstorm")

    def power_cut(self) -> None:
        """Write a power cut of a town: its devices are silent within minutes, and disturbed afterwards."""
        area, begin_s, lasts_s = self._area_without_power, CUT_S, CUT_LASTS_S
        for device in self._storm.directory.devices:
            if device.area_id != area or device.device_id not in self._sites:
                continue
            at_s = begin_s + self._random.uniform(0, 6) * MINUTE_S
            self._add(
                "power-cut",
                at_s,
                lasts_s,
                subject=f"device/{device.device_id}",
                site_id=device.device_id,
                device_id=device.device_id,
                detector="silence",
                severity=2,
                noticed_s=15 * MINUTE_S,
            )
            for one in self._series.get(device.device_id, []):
                for _ in range(2):
                    restart_s = begin_s + lasts_s + self._random.uniform(7, 25) * MINUTE_S
                    self._of_series(
                        one.site_id, one.quantity, "gap", restart_s, 5 * MINUTE_S, "power-cut", severity=1
                    )

    def ordinary_day(self) -> None:
        """Write what happens anyway, each an event of its own and far from the others."""
        quiet = [
            one
            for one in self._storm.directory.sites
            if one.kind in {"river_section", "outfall", "road_section"} and self._series.get(one.site_id)
        ]
        roads = [one for one in quiet if one.kind == "road_section"]
        for k, hour in enumerate((7.2, 11.4, 18.3)):
            site = roads[(k * 5) % len(roads)]
            at_s = START_S + hour * HOUR_S
            self._of_site(site.site_id, "cause/incident_downstream", at_s, HOUR_S, f"accident-{k}")
            hops = self._storm.relations.hops[self._storm.relations.index[site.site_id]]
            for other in np.flatnonzero((hops > 0) & (hops <= 2)).tolist():
                name = self._storm.relations.site_ids[other]
                later_s = at_s + self._random.uniform(5, 20) * MINUTE_S
                self._of_series(name, None, "residual", later_s, 40 * MINUTE_S, f"accident-{k}")
        for k in range(4):
            self._one_sensor(quiet, f"drift-{k}", "cause/sensor_fouling", 6 * HOUR_S)
        for k in range(4):
            self._one_sensor(quiet, f"stuck-{k}", "flat_line", 3 * HOUR_S)
        for k in range(4):
            self._one_sensor(quiet, f"spike-{k}", "spike", 0.0)

    def flapping(self, anomalies: int) -> None:
        """Write the flapping sensors, with so many anomalies in all."""
        free = [one for one in self._storm.directory.series if one.series_id not in self._busy]
        chosen = self._random.choice(len(free), N_FLAPPING, replace=False)
        counts = self._random.multinomial(anomalies, np.full(N_FLAPPING, 1 / N_FLAPPING))
        for k, (place, n) in enumerate(zip(chosen.tolist(), counts.tolist(), strict=True)):
            one = free[place]
            gaps_s = self._random.exponential(1.0, n + 1)
            begin_s = START_S + self._random.uniform(0, 6) * HOUR_S
            starts_s = begin_s + np.cumsum(gaps_s)[:n] / gaps_s.sum() * (START_S + DAY_S - begin_s - HOUR_S)
            for at_s, until_s in zip(starts_s, [*starts_s[1:], starts_s[-1] + 300.0], strict=True):
                lasts_s = min(self._random.uniform(20, 400), 0.8 * (until_s - at_s))
                self._of_series(
                    one.site_id,
                    one.quantity,
                    "residual",
                    float(at_s),
                    float(lasts_s),
                    f"flapping-{k}",
                    severity=1,
                )

    def _is_without_power(self, site_id: str, start_s: float, lasts_s: float) -> bool:
        is_there = self._sites[site_id].area_id == self._area_without_power
        return is_there and start_s + lasts_s > CUT_S and start_s < CUT_S + CUT_LASTS_S + 600.0

    def _one_sensor(self, sites: Sequence[object], event: str, detector: str, lasts_s: float) -> None:
        free = [
            one
            for site in sites
            for one in self._series[site.site_id]  # type: ignore[attr-defined]
            if one.series_id not in self._busy
            and one.site_id not in self._single
            and one.quantity in {"ph", "water_temperature", "permanganate_index", "total_phosphorus"}
        ]
        one = free[int(self._random.integers(len(free)))]
        self._single.add(one.site_id)
        at_s = START_S + self._random.uniform(0.5, 17) * HOUR_S
        if detector.startswith("cause/"):
            self._of_site(one.site_id, detector, at_s, lasts_s, event, quantity=one.quantity)
        self._of_series(
            one.site_id,
            one.quantity,
            "residual" if detector.startswith("cause/") else detector,
            at_s + self._random.uniform(0, 10) * MINUTE_S * (lasts_s > 0),
            lasts_s,
            event,
        )

    def _of_series(  # noqa: PLR0917 - what an anomaly is made of
        self,
        site_id: str,
        quantity: str | None,
        detector: str,
        start_s: float,
        lasts_s: float,
        event: str,
        *,
        severity: int | None = None,
    ) -> None:
        measured = [one for one in self._series.get(site_id, []) if quantity in {None, one.quantity}]
        for one in measured[:1]:
            self._busy.add(one.series_id)
            self._add(
                event,
                start_s,
                lasts_s,
                subject=f"series/{one.series_id}",
                site_id=site_id,
                series_id=one.series_id,
                detector=detector,
                severity=severity or int(self._random.integers(1, 4)),
            )

    def _of_site(
        self,
        site_id: str,
        detector: str,
        start_s: float,
        lasts_s: float,
        event: str,
        *,
        unnamed_s: float = 0.0,
        quantity: str | None = None,
    ) -> None:
        used = [one for one in self._series.get(site_id, []) if quantity in {None, one.quantity}]
        if not used:
            return
        moved = {
            "cause/sewage": {"ammonia_nitrogen", "conductivity", "dissolved_oxygen"},
            "cause/rain_turbidity": {"turbidity", "water_level", "discharge"},
        }
        wet = moved.get(detector)
        names = [one.quantity for one in used if wet is None or one.quantity in wet]
        if not names:
            return
        self._busy |= {one.series_id for one in used if one.quantity in names}
        self._add(
            event,
            start_s,
            lasts_s,
            subject=f"site/{site_id}/several",
            site_id=site_id,
            detector=detector,
            severity=2,
            evidence={"quantities": [{"quantity": name} for name in names]},
            unnamed_s=unnamed_s,
        )

    def _add(
        self,
        event: str,
        start_s: float,
        lasts_s: float,
        *,
        noticed_s: float = DETECTED_AFTER_S,
        unnamed_s: float = 0.0,
        **fields: object,
    ) -> None:
        if event != "power-cut" and self._is_without_power(str(fields["site_id"]), start_s, lasts_s):
            return  # nothing is measured there
        anomaly_id = len(self._storm.event_of) + 1
        self._storm.event_of[anomaly_id] = event
        values: dict[str, object] = {
            "version": "1",
            "start_s": start_s,
            "peak_s": start_s,
            "score": 5.0,
            "n_readings": 1,
            "reason_en": "storm",
            "reason_zh": "storm",
            "anomaly_id": anomaly_id,
            **fields,
        }
        whole = Anomaly(state="closed", end_s=start_s + lasts_s, **values)  # type: ignore[arg-type]
        opened = msgspec.structs.replace(whole, state="open", end_s=None)
        at_s = start_s + noticed_s
        if unnamed_s:
            unnamed = msgspec.structs.replace(opened, detector="several")
            self._storm.changes.append(Change(at_s, unnamed))
            at_s += unnamed_s
        if lasts_s > noticed_s or unnamed_s:
            self._storm.changes.append(Change(at_s, opened))
        self._storm.changes.append(Change(max(at_s, start_s + lasts_s) + noticed_s, whole))
