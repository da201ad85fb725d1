"""Tests the Python client for notebooks and its howto against a real gateway process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx
import pandas as pd
import polars as pl
import pytest

from deploy.embedded.server_environment import free_port
from gateway.auth import api_keys
from gateway.auth.principal import Role
from gateway.settings import Settings
from ingest_service.storage.memory.store import MemoryStore
from ingest_service.storage.postgres.api_keys import ApiKeyStore
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support import howto_pages
from tests.support.demo_store import fill_with_demo
from tests.support.gateway_access import KEY, gateway_app
from tests.support.processes import REPOSITORY, PlatformProcess, running_processes, wait_until
from tests.support.throwaway_servers import fresh_database
from towntwin.client import Client, ClientError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.throwaway_servers import NamedServer, PostgresServer

PAUSE = time.sleep
HOWTO = "query-anomalies.md"


@pytest.fixture(scope="module")
def served(
    timescale_server: PostgresServer | NamedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    port, log = free_port(), tmp_path_factory.mktemp("gateway") / "log"
    with fresh_database(timescale_server) as dsn:
        migrate(dsn)
        store = PostgresStore.open(dsn)
        fill_with_demo(store, days=2.0)
        _, key = api_keys.create_key(
            ApiKeyStore(store), name="notebook", role=Role.VIEWER, created_by="tests"
        )
        store.close()
        with running_processes(PlatformProcess("gateway", "--port", str(port), log=log, TOWNTWIN_DSN=dsn)):
            wait_until(lambda: answers(port), within_s=60, what="the gateway answers")
            yield f"http://127.0.0.1:{port}", key


@pytest.fixture
def address(served: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Of the gateway; a key for it is in the environment, as the howto has it."""
    monkeypatch.setenv("KEY", served[1])
    return served[0]


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def test_frames_of_both_kinds_have_the_same_content(address: str) -> None:
    with (
        Client(address, key=os.environ["KEY"]) as pandas,
        Client(address, key=os.environ["KEY"], frame="polars") as polars,
    ):
        mine = pandas.anomalies(area="330400")
        theirs = polars.anomalies(area="330400", reproduce=pandas.token)
        assert isinstance(mine, pd.DataFrame)
        assert isinstance(theirs, pl.DataFrame)
        assert mine["anomaly_id"].tolist() == theirs["anomaly_id"].to_list()
        assert str(mine["start"].dtype).startswith("datetime64[us, UTC")
        readings = pandas.readings(series=[1, 2])
        assert set(readings["series_id"]) == {1, 2}
        assert readings.equals(pandas.readings(series=[1, 2], reproduce=pandas.token))
        assert len(pandas.plot(1, points=20)) <= 20
        assert pandas.buckets(1, "PT1H")["count"].max() <= 12
        assert (pandas.latest(site="330483-d1-r04")["age_s"] > 0).all()


def test_pages_are_followed(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Client(address, key=os.environ["KEY"]) as client:
        whole = client.anomalies()
        monkeypatch.setattr("towntwin.client.PAGE_ROWS", 3)
        assert client.anomalies(reproduce=client.token).equals(whole)
        assert len(whole) > 6


def test_what_the_gateway_refuses_is_an_error_with_its_sentence(address: str) -> None:
    with Client(address, key=os.environ["KEY"]) as client:
        with pytest.raises(ClientError, match="there is no area") as error:
            client.anomalies(area="nowhere")
        assert error.value.status == 404
    with pytest.raises(ValueError, match="give one of pandas, polars, arrow"):
        Client(address, frame="dask")  # type: ignore[arg-type]
    with Client(address) as nobody, pytest.raises(ClientError, match="bring a key") as error:
        nobody.anomalies()
    assert error.value.status == 401


def test_a_parameter_that_the_client_does_not_know_is_refused_and_not_dropped(address: str) -> None:
    with Client(address, key=os.environ["KEY"]) as client:
        for method in (client.anomalies, client.readings, client.latest, client.series, client.sites):
            with pytest.raises(TypeError, match="unexpected keyword"):
                method(**{"from": "2026-11-01T00:00:00Z"})


def test_too_many_requests_of_a_key_are_delayed(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry = Settings(requests_per_s=2, requests_burst=2)
    waited: list[float] = []

    def pause(pause_s: float) -> None:
        waited.append(pause_s)
        PAUSE(pause_s)

    monkeypatch.setattr("towntwin.client.time.sleep", pause)
    with (
        howto_pages.serve_app(gateway_app(MemoryStore(), settings=hurry)) as served_at,
        Client(served_at, key=KEY) as client,
    ):
        assert [client.sites() for _ in range(4)] == [[]] * 4
    assert waited


@pytest.mark.parametrize("command", howto_pages.code_blocks(HOWTO, "sh"))
def test_the_commands_of_the_howto_work(command: str, address: str, tmp_path: Path) -> None:
    printed = howto_pages.run_command(command, address, key=os.environ["KEY"], folder=tmp_path)
    written = "".join(path.read_text() for path in tmp_path.iterdir() if path.suffix == ".csv")
    assert len(printed + written) > 40


def test_the_notebook_of_the_howto_works_and_draws(address: str, tmp_path: Path) -> None:
    program = "\n".join(howto_pages.code_blocks(HOWTO, "python")).replace(
        howto_pages.WRITTEN_ADDRESS, address
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "MPLBACKEND": "agg"},
    )
    assert done.returncode == 0, done.stderr
    picture = tmp_path / "oxygen.png"
    assert picture.stat().st_size > 10_000
    if kept := os.environ.get("TOWNTWIN_PICTURES"):  # to draw the one of the page anew
        shutil.copy(picture, kept)
