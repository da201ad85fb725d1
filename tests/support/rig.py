"""A device, a broker, the ingest service and a database, with a bad network between any two of them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from edge.agent.agent import Agent
from edge.agent.settings import Settings
from edge.agent.spool import Spool
from edge.drivers import Pack
from edge.wire import broker as wire_broker
from edge.wire import senml
from edge.wire.senml import Record
from ingest_service.storage.migrate import migrate
from ingest_service.storage.model import LetterQuery
from ingest_service.storage.postgres import PostgresStore
from tests.support.kept import DIRECTORY
from tests.support.processes import Process, wait_until
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AREA, DEVICE = "330483-d1", "d1"
STEP_S = 1.0
READINGS_PER_S = 1500.0
RECEIPT_TIMEOUT_S = 2.0
WITHIN_S = 90.0


class Ticks:
    """A driver with a reading of each of two channels a tick, each in a message of its own."""

    def __init__(self, start_s: float, n: int) -> None:
        self.start_s, self.n = start_s, n

    def packs(self) -> Iterator[Pack]:
        """All of them overdue."""
        for tick in range(self.n):
            time_s = self.start_s + tick * STEP_S
            yield Pack(time_s, [Record(name="ph", time_s=time_s, value=7 + (tick % 50) / 100, unit="pH")])
            yield Pack(time_s, [Record(name="turb", time_s=time_s, value=20 + tick % 9, unit="NTU")])


class Rig:
    """Everything that a reading passes through; `ledger` says where each of them is.

    Parameters
    ----------
    folder : for the spool and the logs
    dsn : of an empty database
    broker : with ``host`` and ``port``
    ticks : two readings each
    receipt_timeout_s : what is without a receipt for so long is sent again [s]

    """

    def __init__(
        self,
        folder: Path,
        dsn: str,
        broker: Any,
        *,
        ticks: int = 1500,
        receipt_timeout_s: float = RECEIPT_TIMEOUT_S,
    ) -> None:
        self.folder = folder
        self.dsn = dsn
        migrate(dsn)
        self.store = PostgresStore.open(dsn)
        self.store.enrol(DIRECTORY)
        address = conninfo_to_dict(dsn)
        self.database_network = Proxy(str(address["host"]), int(str(address["port"])))
        self.broker_network = Proxy(broker.host, broker.port)
        self.start_s = float(int(time.time()) - 2 * ticks)
        self.published = {
            (channel, self.start_s + tick * STEP_S) for tick in range(ticks) for channel in ("ph", "turb")
        }
        edge = Settings(window=100, receipt_timeout_s=receipt_timeout_s, drain_readings_per_s=READINGS_PER_S)
        self._agent = Agent(
            area=AREA,
            device=DEVICE,
            driver=Ticks(self.start_s, ticks),
            spool=Spool.open(folder / "spool", edge),
            broker=wire_broker.parse(f"mqtt://{broker.host}:{broker.port}"),
            settings=edge,
        )
        self._stop = threading.Event()
        self._device = threading.Thread(target=self._agent.run, args=(self._stop,), name="device")

    def ingest(self, name: str = "ingest", **environ: str) -> Process:
        """An ingest process that reaches both servers through the bad network."""
        network = self.database_network
        usual = {
            "TOWNTWIN_DSN": make_conninfo(self.dsn, host=network.host, port=network.port),
            "TOWNTWIN_BROKER": f"mqtt://{self.broker_network.host}:{self.broker_network.port}",
            "TOWNTWIN_INGEST_BATCH_WAIT_S": "0.02",
        }
        self._listener = Process("ingest", log=self.folder / f"{name}.log", **(usual | environ))
        return self._listener

    def publish(self, kept: float = 0.25) -> None:
        """Let the device begin once ingest listens, and wait until a part of its readings is kept."""
        log = self._listener.log
        wait_until(lambda: "subscribed" in log.read_text(), within_s=WITHIN_S, what="ingest listens")
        self._device.start()
        self.wait_for(kept)

    def receipted(self) -> int:
        """How many readings the platform acknowledged."""
        return self._agent.counts().receipted

    def wait_for(self, kept: float) -> None:
        """Wait until a part of the readings has its receipts."""
        wanted = kept * len(self.published)
        wait_until(lambda: self.receipted() >= wanted, within_s=WITHIN_S, what=f"{kept} kept")

    def finish(self) -> None:
        """Wait until the device has a receipt for everything."""
        self._device.join(WITHIN_S)
        assert not self._device.is_alive(), f"not all kept within {WITHIN_S} s: {self._agent.counts()}"

    def stored(self) -> list[tuple[str, float]]:
        """Channel and time of what is stored, once for each row."""
        found = []
        for series, channel in ((1, "ph"), (2, "turb")):
            rows = self.store.readings(series, self.start_s - 1, self.start_s + 1e7, limit=10**6)
            found += [(channel, time_us / 1e6) for time_us in rows["time_us"].tolist()]
        return found

    def dead(self) -> set[tuple[str, float]]:
        """Channel and time of what lies in the dead letters."""
        letters = self.store.dead_letters(LetterQuery(limit=10**5))
        records = [senml.decode(one.payload, content_type=one.content_type or "", now_s=0) for one in letters]
        return {(one.name, one.time_s) for of_letter in records for one in of_letter}

    def ledger(self, *, dead: int = 0) -> None:
        """What was published is what is stored, once, and what lies in the dead letters."""
        stored, letters = self.stored(), self.dead()
        assert len(stored) == len(set(stored)), "something is stored twice"
        assert set(stored) | letters == self.published
        assert not set(stored) & letters
        assert len(letters) == dead

    def close(self) -> None:
        """End everything."""
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
