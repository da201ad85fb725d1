"""Connects a device, a broker, ingest and a database through fault-injecting proxies, and checks for loss."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from edge.agent.agent import Agent
from edge.agent.settings import Settings
from edge.agent.spool import Spool
from edge.drivers import Pack
from edge.wire import broker_address, senml
from edge.wire.senml import Record
from ingest_service.storage.contract.models import DeadLetterQuery
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.processes import PlatformProcess, running_processes, wait_until
from tests.support.store_samples import DIRECTORY
from tests.support.tcp_proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from ingest_service.storage.contract.models import Directory

TICKS = 600
WINDOW = 100  # messages that the device has under way
READINGS_PER_S = 750.0  # slow enough that a failure meets readings on their way
RECEIPT_TIMEOUT_S = 2.0
WITHIN_S = 90.0


class TickDriver:
    """A driver with two channels and one reading per channel and tick; a pack has one channel's readings."""

    def __init__(self, start_s: float, n: int, *, step_s: float = 1.0, together: int = 1) -> None:
        self.start_s, self.n, self.step_s, self.together = start_s, n, step_s, together

    def times_s(self) -> list[float]:
        """Return the times of measurement [s]."""
        return [self.start_s + tick * self.step_s for tick in range(self.n)]

    def packs(self) -> Iterator[Pack]:
        """Yield all packs; all are overdue."""
        for first in range(0, self.n, self.together):
            ticks = range(first, min(first + self.together, self.n))
            yield self._pack("ph", "pH", {tick: self.ph(tick) for tick in ticks})
            yield self._pack("turb", "NTU", {tick: 20.0 + tick % 9 for tick in ticks})

    def ph(self, tick: int) -> float:
        """Return the first channel's value at a tick."""
        return 7 + (tick % 50) / 100

    def _pack(self, name: str, unit: str, values: dict[int, float]) -> Pack:
        times_s = [self.start_s + tick * self.step_s for tick in values]
        records = [
            Record(name=name, time_s=time_s, value=value, unit=unit)
            for time_s, value in zip(times_s, values.values(), strict=True)
        ]
        return Pack(times_s[0], records)


class NetworkFaultRig:
    """Device, broker, ingest and database connected through proxies; `ledger` checks that nothing is lost.

    Parameters
    ----------
    folder : for the spool and the logs
    dsn : URL of an empty database
    broker : with ``host`` and ``port``
    ticks : number of ticks with two readings each, or a driver
    device, directory : the device's id, and its enrolment with the channels ``ph`` and ``turb``
    password : of the device at the broker; None for a broker that needs none
    readings_per_s : upper limit of the device's rate; 0 is no limit [1/s]
    receipt_timeout_s : time after which messages without a receipt are sent again [s]

    """

    def __init__(
        self,
        folder: Path,
        dsn: str,
        broker: Any,
        *,
        ticks: int | TickDriver = TICKS,
        device: str = "d1",
        directory: Directory = DIRECTORY,
        password: str | None = None,
        readings_per_s: float = READINGS_PER_S,
        receipt_timeout_s: float = RECEIPT_TIMEOUT_S,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.dsn = dsn
        migrate(dsn)
        self.store = PostgresStore.open(dsn)
        enrolled = self.store.enrol(directory)
        series = {(one.site_id, one.quantity): one.series_id for one in enrolled.series}
        self._series = {
            one.name: series[one.site_id, one.quantity]
            for one in enrolled.channels
            if one.device_id == device
        }
        address = conninfo_to_dict(dsn)
        self.database_network = Proxy(str(address["host"]), int(str(address["port"])))
        self.broker_network = Proxy(broker.host, broker.port)
        if isinstance(ticks, int):
            ticks = TickDriver(float(int(time.time()) - 2 * ticks), ticks)
        self.ticks = ticks
        self.published = {(channel, time_s) for time_s in ticks.times_s() for channel in ("ph", "turb")}
        login = "" if password is None else f"{device}:{password}@"
        edge = Settings(
            window=WINDOW, receipt_timeout_s=receipt_timeout_s, drain_readings_per_s=readings_per_s
        )
        self._agent = Agent(
            area=next(one.area_id for one in directory.devices if one.device_id == device),
            device=device,
            driver=ticks,
            spool=Spool.open(folder / "spool", edge),
            broker=broker_address.parse_broker_address(f"mqtt://{login}{broker.host}:{broker.port}"),
            settings=edge,
        )
        self.ingests: list[PlatformProcess] = []
        self._stop = threading.Event()
        self._device = threading.Thread(target=self._agent.run, args=(self._stop,), name="device")

    def ingest(self, name: str = "ingest", **environ: str) -> PlatformProcess:
        """Return an ingest process that connects to both servers through the proxies."""
        network = self.database_network
        default_environ = {
            "TOWNTWIN_DSN": make_conninfo(self.dsn, host=network.host, port=network.port),
            "TOWNTWIN_BROKER": f"mqtt://{self.broker_network.host}:{self.broker_network.port}",
            "TOWNTWIN_INGEST_BATCH_WAIT_S": "0.02",
        }
        process = PlatformProcess("ingest", log=self.folder / f"{name}.log", **(default_environ | environ))
        self.ingests.append(process)
        return process

    def publish(self, kept: float = 0.25) -> None:
        """Start the device once ingest is subscribed; wait until a share of the readings has receipts."""
        wait_until(
            lambda: any("subscribed" in one.log.read_text() for one in self.ingests if one.log.exists()),
            within_s=WITHIN_S,
            what="ingest listens",
        )
        self.start_device()
        self.wait_for(kept)
        assert self.receipted() < len(self.published), "nothing is left for the failure"

    def start_device(self) -> None:
        """Start the device, whether ingest is subscribed or not."""
        self._device.start()

    def receipted(self) -> int:
        """Return the number of readings with a receipt."""
        return self._agent.counts().receipted

    def wait_for(self, kept: float) -> None:
        """Wait until a share of the readings has receipts."""
        expected = kept * len(self.published)
        wait_until(lambda: self.receipted() >= expected, within_s=WITHIN_S, what=f"{kept} kept")

    def wait_for_more(self) -> None:
        """Wait until a reading has a receipt that had none before."""
        before = self.receipted()
        wait_until(lambda: self.receipted() > before, within_s=WITHIN_S, what="a further receipt")

    def at_broker(self) -> int:
        """Return the number of messages that the broker has acknowledged and that have no receipt."""
        return len(self._agent._publisher._window._at_broker)

    def finish(self) -> None:
        """Wait until the device has all receipts."""
        self._device.join(WITHIN_S)
        assert not self._device.is_alive(), f"not all kept within {WITHIN_S} s: {self._agent.counts()}"

    def rows(self, channel: str) -> NDArray[np.void]:
        """Return the stored readings of a channel as READING rows."""
        start_s = self.ticks.start_s
        return self.store.readings(self._series[channel], start_s - 1, start_s + 1e7, limit=10**6)

    def stored(self) -> list[tuple[str, float]]:
        """Return channel and time of each stored row."""
        return [
            (channel, time_us / 1e6)
            for channel in self._series
            for time_us in self.rows(channel)["time_us"].tolist()
        ]

    def dead(self) -> set[tuple[str, float]]:
        """Return channel and time of each reading in the dead letters."""
        dead_letters = self.store.dead_letters(DeadLetterQuery(limit=10**5))
        records = [
            senml.decode(one.payload, content_type=one.content_type or "", now_s=0) for one in dead_letters
        ]
        return {(one.name, one.time_s) for of_letter in records for one in of_letter}

    def ledger(self, *, dead: int = 0) -> None:
        """Assert that each published reading is either stored once or in the dead letters."""
        stored, dead_letters = self.stored(), self.dead()
        assert len(stored) == len(set(stored)), "something is stored twice"
        assert set(stored) | dead_letters == self.published
        assert not set(stored) & dead_letters
        assert len(dead_letters) == dead

    def close(self) -> None:
        """Stop the device and close the proxies and the store."""
        self._stop.set()
        if self._device.is_alive():
            self._device.join()
        self.database_network.close()
        self.broker_network.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def run_with_failure(rig: NetworkFaultRig, fail: Callable[[], None], **environ: str) -> PlatformProcess:
    """Publish readings, cause a failure in their midst, and check that all of them are stored."""
    ingest = rig.ingest(**environ)
    with running_processes(ingest):
        rig.publish()
        fail()
        rig.finish()
        assert ingest.stop() == 0
    rig.ledger()
    return ingest


def superuser_connection(dsn: str) -> psycopg.Connection[Any]:
    """Return a new autocommit connection."""
    return psycopg.connect(dsn, autocommit=True)


def wait_for_log(ingest: PlatformProcess, log_text: str, *, times: int = 1) -> None:
    """Wait until a text is in the log ``times`` times."""
    wait_until(
        lambda: ingest.log.read_text().count(log_text) >= times,
        within_s=WITHIN_S,
        what=f"the log says {log_text} {times} times",
    )
