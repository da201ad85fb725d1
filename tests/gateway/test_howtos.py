"""Runs the commands of the howto pages on judging a series, on live streams and on anomalies."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from gateway.settings import Settings
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support import howto_pages
from tests.support.demo_store import fill_with_demo
from tests.support.gateway_access import KEY, gateway_app
from tests.support.processes import REPOSITORY
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.throwaway_servers import NamedServer, PostgresServer

JUDGE, LISTEN, QUERY = "judge-a-series.md", "live.md", "query-anomalies.md"
END_S = datetime.fromisoformat("2026-11-08T00:00:00+08:00").timestamp()  # of the stretch that the page tries
SPIKE = 30.0


@pytest.fixture(scope="module")
def store(timescale_server: PostgresServer | NamedServer) -> Iterator[PostgresStore]:
    with fresh_database(timescale_server) as dsn:
        migrate(dsn)
        one = PostgresStore.open(dsn)
        fill_with_demo(one, days=2.0, until_s=END_S)
        yield one
        one.close()


@pytest.fixture(scope="module")
def address(store: PostgresStore) -> Iterator[str]:
    with howto_pages.serve_app(
        gateway_app(store, settings=Settings(heartbeat_s=0.2, heavy_burst_s=3600.0))
    ) as found:
        yield found


def answers(text: str) -> list[Any]:
    """One after the other, as two curls print them."""
    decoder, found = json.JSONDecoder(), []
    while text:
        one, end = decoder.raw_decode(text)
        found.append(one)
        text = text[end:].lstrip()
    return found


def test_a_series_is_judged_tried_and_adopted_as_the_page_describes(address: str, tmp_path: Path) -> None:
    rows = [f"{END_S + 300 * at:.0f},{SPIKE if at == 400 else 8 + at % 3 / 10}" for at in range(500)]
    (tmp_path / "river.csv").write_text("\n".join(["time,value", *rows]))
    judging, trying, adopting = howto_pages.code_blocks(JUDGE, "sh")

    (judged,) = answers(howto_pages.run_command(judging, address, key=KEY, folder=tmp_path))
    assert len(judged["readings"]) == 500
    assert judged["limits"]["score_strong"] == 9
    assert judged["readings"][400]["quality"] >= 3

    (tried,) = answers(howto_pages.run_command(trying, address, key=KEY, folder=tmp_path))
    assert tried["now"]["readings"] == tried["tried"]["readings"] > 0
    assert tried["now"]["limits"] != tried["tried"]["limits"]
    assert (tried["tried"]["limits"]["suspect_low"], tried["tried"]["limits"]["fail_high"]) == (4, None)

    adopted, read = answers(howto_pages.run_command(adopting, address, key=KEY, folder=tmp_path))
    assert adopted == read
    assert read["adopted"] == {"suspect_low": 4}
    assert [one["note"] for one in read["history"]] == ["two false alarms a day at low flow"]


@pytest.mark.parametrize(
    ("command", "expected_begin"),
    list(zip(howto_pages.code_blocks(LISTEN, "sh"), ("id: ", "event: anomaly"), strict=True)),
)
def test_a_stream_is_read_and_resumed_as_the_page_describes(
    command: str, expected_begin: str, address: str, tmp_path: Path
) -> None:
    """A new reader hears a heartbeat at least, and one that comes again is told what changed."""
    with howto_pages.start_command(f"exec {command}", address, key=KEY, folder=tmp_path) as running:
        assert running.stdout is not None
        received_line = next((line for line in running.stdout if line.startswith(expected_begin)), None)
        running.kill()
    assert received_line is not None


def test_the_commands_on_anomalies_run_and_the_newest_one_is_traced(address: str, tmp_path: Path) -> None:
    commands = howto_pages.code_blocks(QUERY, "sh")
    assert len(commands) > 4
    outputs = [howto_pages.run_command(one, address, key=KEY, folder=tmp_path) for one in commands]
    traced = json.loads(outputs[-1])
    assert traced["anomaly_id"] > 0
    assert traced["explanation_zh"]
    assert (tmp_path / "anomalies.csv").read_text().startswith("anomaly_id,")


def test_the_examples_of_the_api_run(address: str, tmp_path: Path) -> None:
    rows = [f"{END_S + 300 * at:.0f},{SPIKE if at == 400 else 8 + at % 3 / 10}" for at in range(500)]
    (tmp_path / "river.csv").write_text("\n".join(["time,value", *rows]))
    frames = howto_pages.example("anomalies_to_pandas.py", address, "330400", key=KEY)
    assert "dissolved_oxygen" in frames
    judged = howto_pages.example(
        "judge_csv.py", str(tmp_path / "river.csv"), "dissolved_oxygen", address, key=KEY
    )
    assert judged.startswith("500 readings, ")
    assert " 1 anomalies" in judged


def test_the_example_of_a_trace_finds_the_source_and_the_arrival(address: str, tmp_path: Path) -> None:
    """The demo's slug is of the storm sewer of town A, and the water flows to town B."""
    printed = howto_pages.example(
        "anomaly_to_arrival.py",
        address,
        "330483",
        str(tmp_path),
        key=KEY,
        mplbackend="agg",
        pythonpath=str(REPOSITORY),
    )
    _, sources, arrivals = printed.split("\n\n")
    assert "90 % of the probability: 330483-d1-o03" in sources
    assert arrivals.splitlines()[1].split()[0] == "330402-d1-r01"
    for name in ("source.png", "arrival.png"):
        assert (tmp_path / name).stat().st_size > 20_000
