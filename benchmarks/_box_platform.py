"""Starts the servers and processes of a town's box for a benchmark."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from benchmarks._box_disk import SERIES
from benchmarks._box_memory import ProcessUse, measure, total
from benchmarks._mqtt_load import WIRE
from deploy.debian_servers.mosquitto import ADMINISTRATOR, PLATFORM, DebianMosquitto
from deploy.debian_servers.timescaledb import DebianTimescale
from deploy.embedded.server_environment import free_port
from gateway.auth import api_keys
from gateway.auth.principal import Role
from ingest_service.storage.contract.models import Area, Channel, Device, Directory, Series, Site
from ingest_service.storage.postgres.api_keys import ApiKeyStore
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support import server_installation
from tests.support.processes import PlatformProcess, running_processes
from tests.support.run_folders import new_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AREA = "330400-box"
STEP_S = 300
QUANTITIES = tuple(WIRE)
# pyarrow imports pandas where it is installed: the tests have it, a box (requirements/run.txt) has not.
WITHOUT_PANDAS = """
import sys

class WithoutPandas:
    def find_spec(name, path=None, target=None):
        if name == "pandas":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, WithoutPandas)
"""
DEVICES = int(os.environ.get("TOWNTWIN_BENCH_SERIES", str(SERIES))) // len(QUANTITIES)


class Box:
    """The servers and processes of a box while the context lasts.

    Parameters
    ----------
    folder : for logs, spools and passwords

    """

    def __init__(self, folder: Path) -> None:
        installed = server_installation.provide(print)
        self._server_folder = new_folder(server_installation.runs_folder(installed), "box", (0, 0))
        self._server_folder.chmod(0o755)
        self.database = DebianTimescale(installed, self._server_folder / "timescaledb")
        self.broker = DebianMosquitto(installed, self._server_folder / "mosquitto")
        self.port = free_port()
        self._folder = folder
        self._stack = ExitStack()
        self.processes: list[PlatformProcess] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.database)
            stack.enter_context(self.broker)
            dsn = self.database.database("box")
            migrate(dsn)
            self.store = PostgresStore.open(dsn)
            stack.callback(self.store.close)
            self.series = self.store.enrol(directory()).series
            _, self.key = api_keys.create_key(
                ApiKeyStore(self.store),
                name="box",
                role=Role.ADMINISTRATOR,
                created_by="box",
                expires_s=time.time() + 86_400,
            )
            self.processes = list(self._processes(dsn))
            stack.enter_context(running_processes(*self.processes))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        shutil.rmtree(self._server_folder, ignore_errors=True)

    def _processes(self, dsn: str) -> Iterator[PlatformProcess]:
        stations = self._folder / "stations.toml"
        stations.touch()
        (self._folder / "sitecustomize.py").write_text(WITHOUT_PANDAS)
        environ = {
            "PYTHONPATH": str(self._folder),
            "TOWNTWIN_DSN": dsn,
            "TOWNTWIN_BROKER": self.broker.url,
            "TOWNTWIN_BROKER_PASSWORD_FILE": str(self.broker.password_file(PLATFORM)),
            "TOWNTWIN_ACCESS_ADMIN": self.broker.administrator_url,
            "TOWNTWIN_ACCESS_ADMIN_PASSWORD_FILE": str(self.broker.password_file(ADMINISTRATOR)),
        }
        hj212 = (
            "--port",
            str(free_port()),
            "--stations",
            str(stations),
            "--spool",
            str(self._folder / "spool"),
        )
        for arguments in (
            ("ingest",),
            ("service",),
            ("gateway", "--port", str(self.port)),
            ("hj212", *hj212),
            ("access",),
        ):
            yield PlatformProcess(*arguments, log=self._folder / f"{arguments[0]}.log", **environ)

    def measure(self) -> list[ProcessUse]:
        """Return the use of each process, the gateway's heavy worker apart."""
        uses = []
        for one in self.processes:
            uses.append(measure(one.args[0], one.process.pid, children=False))
            if one.args[0] == "gateway":
                whole = measure("", one.process.pid)
                rest = (
                    whole.count - 1,
                    *(all_ - own for all_, own in zip(whole[2:], uses[-1][2:], strict=True)),
                )
                uses.append(ProcessUse("heavy worker", *rest))
        uses.append(measure("Mosquitto", self.broker.pid))
        uses.append(measure("TimescaleDB", self.database.pid))
        return [*uses, total("all", uses)]


def directory() -> Directory:
    """Return the directory to enrol: one town, a site for each device, four series a site."""
    names = [f"box-{number:03}" for number in range(DEVICES)]
    return Directory(
        areas=[Area(area_id=AREA, level="town", en="Box", zh="测试镇")],
        sites=[
            Site(site_id=name, area_id=AREA, kind="river_section", en=name, zh=name, lon=120.9, lat=30.8)
            for name in names
        ],
        devices=[Device(device_id=name, area_id=AREA) for name in names],
        series=[
            Series(site_id=name, quantity=one, interval_s=STEP_S) for name in names for one in QUANTITIES
        ],
        channels=[
            Channel(device_id=name, name=one, site_id=name, quantity=one)
            for name in names
            for one in QUANTITIES
        ],
    )
