"""Tests `towntwin up` as a user runs it: the demo for a minute, and the replay of real recorded files."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from contextlib import closing, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest

from deploy.demo.field_devices.instruments import COUNTER, SONDE
from deploy.embedded.server_environment import free_port
from edge.agent.settings import Settings as AgentSettings
from edge.agent.spool import Spool
from tests.support.grafana_login import connect, run_all_queries
from tests.support.grafana_provisioning import read_file
from tests.support.processes import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path


def up(folder: Path, *arguments: str, on_terminal: bool = False) -> tuple[int, dict[str, Any], str]:
    """Run it; its exit code, the JSON of its last line, and all that it printed."""
    flags = ["--folder", str(folder), "--port", str(free_port()), "--ports", "free"]
    ours, theirs = pty.openpty() if on_terminal else os.pipe()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TOWNTWIN_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy", "up", *arguments, *flags],
        cwd=REPOSITORY,
        env=environ | {"COLUMNS": "500", "TERM": "dumb"},  # lines neither wrapped nor coloured
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        printed = read_to_end(ours).decode().replace("\r\n", "\n")
        code = process.wait(60)
    finally:
        process.kill()
        os.close(ours)
    logs = "".join(f"--- {log.name}\n{log.read_text()[-2000:]}" for log in folder.glob("run/logs/*.log"))
    print(printed[-6000:], logs)
    lines = printed.strip().splitlines()
    return code, json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}, printed


def read_to_end(file: int) -> bytes:
    """Read a pipe or terminal until the other end is closed."""
    found = bytearray()
    with suppress(OSError):  # of a terminal that was closed
        while part := os.read(file, 65536):
            found += part
    return bytes(found)


def read_as_grafana(folder: Path) -> None:
    """Write a Grafana's files for the running `up`, and read a series with exactly what they contain."""
    files = folder / "grafana"
    command = [sys.executable, "-m", "deploy", "dashboards", "provision", str(files), "--folder", str(folder)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TOWNTWIN_")}
    subprocess.run(command, cwd=REPOSITORY, env=environ, check=True, timeout=60)
    (source,) = read_file((files / "datasources/towntwin.yaml").read_text())["datasources"]
    with connect(source) as connection:
        assert run_all_queries(connection) > 200
        assert connection.execute("SELECT DISTINCT quantity FROM series_view").fetchall() == [
            ("water_level",)
        ]


@pytest.mark.timeout(300)
def test_the_demo_finds_every_planned_fault_in_time(open_folder: Path) -> None:
    code, summary, printed = up(open_folder, "--for", "60")
    assert "/login#tt_" in printed, "the console opens with the key that is printed"
    (shown,) = [line for line in printed.splitlines() if line.startswith("Grafana: ")]
    assert "user towntwin_grafana_login (reads views only)" in shown
    assert (open_folder / "postgres/password-towntwin_grafana_login").read_text() in shown
    assert summary["found_faults"] == summary["planned_faults"] >= 8
    assert summary["found_incidents"] == summary["planned_incidents"] == summary["planned_faults"]
    assert summary["readings"] >= 20_000
    assert summary["lost"] == summary["dead_letters"] == 0, printed
    assert summary["edition"].startswith("PostgreSQL")
    silences = [line for line in printed.splitlines() if "is silent" in line or "broker or ingest" in line]
    assert silences, "the planned silent device is found"
    assert all("device 330402-d1-r05 is silent" in line for line in silences), "none while the history loads"
    # Anomalies are evidence: a fault raises them at several series and sites, the week before raises its
    # budget, and their number depends on the hour of the day. People work on incidents.
    assert summary["anomalies"] <= 10 * summary["planned_faults"]
    assert summary["found_incidents"] == summary["planned_incidents"] == summary["planned_faults"]
    assert summary["incidents"] <= 4 * summary["planned_faults"], "an operations centre would drown"
    for name in (SONDE, COUNTER, "hj212"):
        with closing(Spool.open(open_folder / f"run/spool/{name}.spool", AgentSettings())) as spool:
            # The counter's first whole period may end after the minute.
            assert spool.newest() > 0 or name == COUNTER, f"{name} was read"
            assert spool.waiting == 0
    assert code == 0


@pytest.mark.timeout(300)
def test_logan_river_plays_through_the_very_same_way(recorded: Path, open_folder: Path) -> None:
    files = [str(recorded / f"logan_river/{site}2019.csv.gz") for site in ("MainStreet", "Mendon")]
    mapping = str(REPOSITORY / "deploy/mappings/logan_river.toml")
    code, summary, _ = up(open_folder, "--replay", *files, "--mapping", mapping)
    assert summary["readings"] > 250_000
    assert summary["anomalies"] > 0
    assert (code, summary["lost"], summary["dead_letters"]) == (0, 0, 0)


@pytest.mark.timeout(300)
def test_metr_la_plays_through_the_very_same_way(recorded: Path, open_folder: Path) -> None:
    mapping = str(REPOSITORY / "deploy/mappings/metr_la.toml")
    one_day = open_folder / "los_speed.csv"
    with (recorded / "metrla/los_speed.csv").open() as lines:
        one_day.write_text("".join(islice(lines, 1 + 288)))
    code, summary, _ = up(open_folder, "--replay", str(one_day), "--mapping", mapping)
    assert summary["readings"] == 207 * 288
    assert (code, summary["lost"], summary["dead_letters"]) == (0, 0, 0)


@pytest.mark.timeout(300)
def test_a_replay_on_a_terminal_that_loses_rows_names_them_and_ends_once_with_one(open_folder: Path) -> None:
    table, mapping = open_folder / "gauge.csv", open_folder / "m.toml"
    table.write_text("time,level\n2026-03-02,1.0\nsoon,1.1\n2026-03-01T24:00,1.0\n2026-03-01,1.2\n")
    mapping.write_text(
        '[time]\ncolumn = "time"\n[[column]]\nmatch = "level"\nquantity = "water_level"\nunit = "m"\n'
    )
    flags = ["--replay", str(table), "--mapping", str(mapping), "--once"]
    code, summary, printed = up(open_folder, *flags, on_terminal=True)
    assert "everything stays up until" not in printed.replace("\n", " ")
    assert (code, summary["lost"], summary["healthy"], summary["readings"]) == (1, 1, True, 2)
    assert summary["replay"]["left_out"] == {"no-time": 1, "repeat": 1}
    assert "gauge.csv, line 3: left out (no-time): 'soon' is no time" in printed


@pytest.mark.timeout(300)
def test_a_replay_on_a_terminal_stays_up_until_it_is_stopped(open_folder: Path) -> None:
    table, mapping = open_folder / "gauge.csv", open_folder / "m.toml"
    table.write_text("time,level\n2026-03-01,1.0\n2026-03-02,1.2\n")
    mapping.write_text(
        '[time]\ncolumn = "time"\n[[column]]\nmatch = "level"\nquantity = "water_level"\nunit = "m"\n'
    )
    ours, theirs = pty.openpty()
    flags = ["--replay", str(table), "--mapping", str(mapping), "--ports", "free", "--port", str(free_port())]
    command = [sys.executable, "-m", "deploy", "up", *flags, "--folder", str(open_folder)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TOWNTWIN_")}
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=environ, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    printed = ""
    try:
        while "everything stays up until" not in printed.replace("\r\n", " "):
            try:
                printed += os.read(ours, 65536).decode("utf-8", "replace")
            except OSError:  # the other end was closed: it ended
                break
        assert process.poll() is None, printed
        threading.Thread(target=read_to_end, args=[ours], daemon=True).start()  # else it stands still
        read_as_grafana(open_folder)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, printed
        assert "everything stays up until" in printed.replace("\r\n", " ")
    finally:
        process.kill()
        process.wait()
        os.close(ours)
