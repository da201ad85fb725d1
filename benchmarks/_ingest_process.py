"""Runs an ingest process for a benchmark and reads its Prometheus metrics."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import psycopg
from prometheus_client.parser import text_string_to_metric_families

from benchmarks._mqtt_load import TIMEOUT_S
from deploy.embedded.server_environment import free_port
from tests.support.processes import PlatformProcess, running_processes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POLL_S = 0.05


class IngestProcess:
    """An ingest process and a client of its metrics.

    Parameters
    ----------
    dsn : URL of the database
    broker_port : of the broker on loopback
    log : file of the process's output
    arguments : further flags of ``towntwin ingest``

    """

    def __init__(self, dsn: str, broker_port: int, log: Path, *arguments: str) -> None:
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{(port := free_port())}", timeout=30)
        self._log = log
        self.process = PlatformProcess(
            "ingest",
            "--metrics-port",
            str(port),
            *arguments,
            log=log,
            TOWNTWIN_DSN=dsn,
            TOWNTWIN_BROKER=f"mqtt://127.0.0.1:{broker_port}",
            **bytecode_environment(log.parent),
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the process while the context lasts; its MQTT session exists when the context begins."""
        before = self._connections()
        with running_processes(self.process):
            while self._connections() == before:
                time.sleep(POLL_S)
            yield
            assert self.process.stop() == 0

    def subscribe(self) -> None:
        """Run the process briefly, so that its persistent session stays on the broker."""
        with self.running():
            time.sleep(0.5)

    def wait_for(self, readings: int) -> None:
        """Wait until ``readings`` readings are committed."""
        deadline = time.monotonic() + TIMEOUT_S
        while self.committed() < readings:
            assert time.monotonic() < deadline, self._log.read_text()[-2000:]
            time.sleep(POLL_S)

    def committed(self) -> float:
        """Return the number of readings that this process committed."""
        return self.metric("towntwin_ingest_readings_total", kind="fresh")

    def metric(self, name: str, **labels: str) -> float:
        """Return a sample of a metric, or zero where there is none yet."""
        text = self._http.get("/metrics").text
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return float(sample.value)
        return 0.0

    def _connections(self) -> int:
        return self._log.read_text().count("subscribed") if self._log.exists() else 0


def bytecode_environment(folder: Path) -> dict[str, str]:
    """Return the environment of a process that keeps its bytecode: an installation has it compiled."""
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}


def count_readings(dsn: str) -> int:
    """Return the number of readings in the database."""
    with psycopg.connect(dsn) as connection:
        (count,) = connection.execute("SELECT count(*) FROM reading").fetchone() or (0,)
    return int(count)
