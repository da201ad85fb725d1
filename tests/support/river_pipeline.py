"""Sends readings of a river section, on time or late, through the ingest pipeline into any store."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from edge.wire import receipts, senml
from edge.wire.senml import Record
from ingest_service.pipeline.batch_processor import BatchProcessor
from ingest_service.pipeline.message import Message
from ingest_service.pipeline.settings import Settings
from ingest_service.storage.contract.models import (
    Anomaly,
    AnomalyQuery,
    Area,
    Channel,
    Device,
    Directory,
    Series,
    Site,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ingest_service.storage.contract.store import Store

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

START_S = 1_790_000_000.0
STEP_S = 300.0
AREA = "330483-d1"
TOPIC = f"towntwin/v1/{AREA}/wz-01/data"
READINGS_PER_MESSAGE = 200

DIRECTORY = Directory(
    areas=[Area(area_id=AREA, level="town", en="A", zh="甲")],
    sites=[Site(site_id="s1", area_id=AREA, kind="river_section", en="S", zh="断面", lon=120.5, lat=30.7)],
    devices=[Device(device_id="wz-01", area_id=AREA)],
    series=[Series(site_id="s1", quantity="ph")],
    channels=[Channel(device_id="wz-01", name="ph", site_id="s1", quantity="ph")],
)


class SectionPipeline:
    """One series of pH with id 1, and the ingest pipeline that processes its readings."""

    def __init__(self, store: Store, **limits: float) -> None:
        store.enrol(DIRECTORY)
        store.enrol(Directory(series=[Series(site_id="s1", quantity="ph", limits=limits)]))
        self.store = store
        self._messages = 0
        ticking = itertools.count(START_S + 1e8, 10.0)  # so that each batch checks for a new directory
        self._pipeline = BatchProcessor(store, Settings(), wait=lambda _: True, clock=lambda: next(ticking))
        self._pipeline.open()

    def send(self, time_s: Floats, value: Floats, channel: str = "ph") -> None:
        """Process readings of a channel in consecutive messages."""
        for at in range(0, len(time_s), READINGS_PER_MESSAGE):
            self._messages += 1
            pack = [
                Record(name=channel, time_s=float(reading_time_s), value=float(reading_value), unit="pH")
                for reading_time_s, reading_value in zip(
                    time_s[at : at + READINGS_PER_MESSAGE], value[at : at + READINGS_PER_MESSAGE], strict=True
                )
            ]
            user_properties = (("epoch", "e"), ("number", str(self._messages)), receipts.RECORDED_PROPERTY)
            assert self._pipeline.ingest(
                [Message(TOPIC, senml.encode_json(pack), START_S + 1e8, properties=user_properties)]
            )

    def send_late(self, time_s: Floats, value: Floats, late: Bools) -> None:
        """Process readings, of which the late ones come after all others."""
        self.send(time_s[~late], value[~late])
        self.send(time_s[late], value[late])

    def flags(self) -> list[tuple[int, int, int]]:
        """Return time of measurement [us], quality and rules of every reading."""
        rows = self.store.readings(1, 0, 4e9, limit=10**6)
        return [tuple(row) for row in rows[["time_us", "quality", "rules"]].tolist()]

    def anomalies(self, *states: str) -> list[Anomaly]:
        """Return the anomalies of some states, or all, by start."""
        return self.store.anomalies(AnomalyQuery(states=list(states) or None, limit=1000))[::-1]

    def compared_anomalies(self) -> list[tuple[object, ...]]:
        """Return the compared fields of the anomalies that are not withdrawn."""
        return [
            (
                round(one.start_s, 6),
                one.end_s and round(one.end_s, 6),
                one.peak_s,
                one.detector,
                one.score,
                one.severity,
                one.n_readings,
                one.state,
                one.reason_en,
                one.reason_zh,
            )
            for one in self.anomalies("open", "closed")
        ]


def quiet_series(ticks: int, *, seed: int = 1) -> tuple[Floats, Floats]:
    """Return times [s] and pH (ticks,) without events."""
    time_s = START_S + STEP_S * np.arange(ticks, dtype=np.float64)
    day = 2 * np.pi * time_s / 86_400
    return time_s, 7.5 + 0.1 * np.sin(day) + np.random.default_rng(seed).normal(0, 0.02, ticks)
