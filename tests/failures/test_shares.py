"""Tests that devices that send nothing again lose nothing when shares replace a shard, and one is killed."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from edge.wire import senml
from edge.wire.senml import Record
from ingest_service.pipeline.share import Share
from ingest_service.storage.contract.models import (
    Channel,
    DeadLetterQuery,
    Device,
    Directory,
    Series,
    Site,
)
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.mqtt_publisher import MqttPublisher
from tests.support.network_fault_rig import WITHIN_S, wait_for_log
from tests.support.processes import PlatformProcess, running_processes, wait_until
from tests.support.store_samples import DIRECTORY

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.embedded.broker import EmbeddedBroker

pytestmark = pytest.mark.timeout(120)
AREA = "330483-d1"
DEVICES = ("d3", "d4", "d5", "d6", "d7", "d8")
UNKNOWN = ("x1", "x2", "x3", "x4")
EACH = 10  # messages of a device in each phase
DEVICES_OF_THE_AREA = Directory(
    areas=DIRECTORY.areas,
    sites=[
        Site(site_id=one, area_id=AREA, kind="river_section", en="S", zh="断面", lon=120.6, lat=30.7)
        for one in DEVICES
    ],
    devices=[Device(device_id=one, area_id=AREA) for one in DEVICES],
    series=[Series(site_id=one, quantity="ph") for one in DEVICES],
    channels=[Channel(device_id=one, name="ph", site_id=one, quantity="ph") for one in DEVICES],
)


class Publishing:
    """Publishes messages with ascending times; nothing is sent again."""

    def __init__(self, publisher: MqttPublisher) -> None:
        self._publisher = publisher
        self._time_s = float(int(time.time()) - 86_400)

    def publish(self, *devices: str) -> None:
        """Publish `EACH` messages of each device."""
        for _ in range(EACH):
            self._time_s += 60
            for one in devices:
                record = Record(name="ph", time_s=self._time_s, value=7.0, unit="pH")
                self._publisher.publish(f"towntwin/v1/{AREA}/{one}/data", senml.encode_json([record]))


def test_shares_replace_a_shard(timescale_dsn: str, embedded_broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Nothing is stored by a share before the other has a session; the shard goes on until then."""
    migrate(timescale_dsn)
    environ = {"TOWNTWIN_DSN": timescale_dsn, "TOWNTWIN_BROKER": embedded_broker.url}
    shard, first, second = (
        PlatformProcess("ingest", "--share", share, log=tmp_path / f"{number}.log", **environ)
        for number, share in enumerate(("1/1", "1/2", "2/2"))
    )
    with (
        closing(PostgresStore.open(timescale_dsn)) as store,
        MqttPublisher(embedded_broker) as publisher,
        running_processes(shard),
    ):
        ids = [one.series_id for one in store.enrol(DEVICES_OF_THE_AREA).series]

        def stored() -> int:
            return sum(len(store.readings(one, 0, 4e9, limit=10**6)) for one in ids)

        def are_stored(phases: int) -> bool:
            letters = len(store.dead_letters(DeadLetterQuery(reason="device")))
            return (stored(), letters) == (phases * EACH * len(DEVICES), EACH * len(UNKNOWN))

        published = Publishing(publisher)
        wait_for_log(shard, "subscribed")
        published.publish(*DEVICES)
        with running_processes(first):
            wait_for_log(first, "shares_missing")
            published.publish(*DEVICES)
            assert "ingest_started" not in first.log.read_text(), "it acknowledges nothing yet"
            with running_processes(second):
                wait_for_log(first, "shares_complete")
                wait_for_log(second, "shares_complete")
                wait_until(
                    lambda: stored() == 2 * EACH * len(DEVICES), within_s=WITHIN_S, what="all are stored"
                )
                assert shard.stop() == 0
                first.kill()
                published.publish(*DEVICES)
                first.start()
                published.publish(*DEVICES, *UNKNOWN)
                wait_until(lambda: are_stored(4), within_s=WITHIN_S, what="all are stored once")
                assert [first.stop(), second.stop()] == [0, 0]
        assert {Share("1/2").includes(one) for one in DEVICES} == {True, False}
        assert {Share("1/2").includes(one) for one in UNKNOWN} == {True, False}
