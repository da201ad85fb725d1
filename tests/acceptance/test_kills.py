"""Tests that every reading is stored exactly once, whichever process or server is killed."""

from __future__ import annotations

import csv
import math
import random
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from deploy.agent_fleet import read_progress
from ingest_service.storage.contract.models import DeadLetterQuery
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.processes import PlatformProcess, running_processes, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SITES = 8
COLUMNS = {
    "ph": "pH",
    "water_temperature": "Cel",
    "dissolved_oxygen": "mg/L",
    "conductivity": "uS/cm",
    "turbidity": "NTU",
}
TICKS = 5000
READINGS = SITES * len(COLUMNS) * TICKS
KILLS = ["ingest"] * 10 + ["database"] * 5 + ["broker"] * 3
START = 1_700_000_000


def write_recording(folder: Path) -> tuple[list[Path], Path]:
    """Eight sites of five quantities, 200,000 readings in all."""
    noise = random.Random(5)
    files = []
    for site in range(SITES):
        path = folder / f"site{site}.csv"
        with path.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["time", *COLUMNS])
            for tick in range(TICKS):
                day = math.sin(tick / 288 * 2 * math.pi)
                values = [7.5 + 0.1 * day, 18 + 2 * day, 7 + day, 500 + 20 * day, 12 + day]
                rows.writerow(
                    [START + 300 * tick, *(f"{value + noise.gauss(0, 0.05):.4f}" for value in values)]
                )
        files.append(path)
    mapping = folder / "mapping.toml"
    columns = "".join(
        f'[[column]]\nmatch = "{name}"\nsite = "{{file}}"\nquantity = "{name}"\nunit = "{unit}"\n'
        for name, unit in COLUMNS.items()
    )
    mapping.write_text(f'[time]\ncolumn = "time"\nformat = "unix"\n{columns}')
    return files, mapping


@pytest.mark.timeout(600)
def test_two_hundred_thousand_readings_survive_eighteen_kills(
    timescale_server: Any, timescale_dsn: str, mosquitto: Any, tmp_path: Path
) -> None:
    migrate(timescale_dsn)
    files, mapping = write_recording(tmp_path)
    report = tmp_path / "fleet.json"
    environ = {"TOWNTWIN_DSN": timescale_dsn, "TOWNTWIN_BROKER": mosquitto.url}
    pace = {"TOWNTWIN_EDGE_DRAIN_READINGS_PER_S": "1000", "TOWNTWIN_EDGE_RECEIPT_TIMEOUT_S": "5"}
    ingest = PlatformProcess("ingest", log=tmp_path / "ingest.log", **environ)
    replay = PlatformProcess(
        "replay",
        *map(str, files),
        *("--mapping", str(mapping), "--spool", str(tmp_path / "spool"), "--report", str(report)),
        log=tmp_path / "replay.log",
        **environ,
        **pace,
    )

    def has_kept(readings: int) -> bool:
        newest = read_progress(report)
        return newest is not None and newest.kept >= readings

    def kill_ingest() -> None:
        ingest.kill()
        ingest.start()

    def kill_server(server: Any) -> Callable[[], None]:
        def kill() -> None:
            server.kill()
            server.start()

        return kill

    kill = {
        "ingest": kill_ingest,
        "database": kill_server(timescale_server),
        "broker": kill_server(mosquitto),
    }
    order = KILLS.copy()
    random.Random(11).shuffle(order)
    with running_processes(ingest, replay):
        for number, victim in enumerate(order, start=1):
            threshold = READINGS * number // (len(order) + 2)
            wait_until(
                partial(has_kept, threshold), within_s=120, what=f"{threshold} kept before {victim} is killed"
            )
            kill[victim]()
        wait_until(lambda: replay.process.poll() is not None, within_s=180, what="the replay ends")
        assert replay.process.returncode == 0
        assert ingest.stop() == 0

    store = PostgresStore.open(timescale_dsn)
    try:
        rows = {
            (one.site_id, one.quantity): len(
                store.readings(one.series_id, START, START + 300 * TICKS, limit=10**6)
            )
            for one in store.directory().series
        }
        assert rows == {(f"site{site}", name): TICKS for site in range(SITES) for name in COLUMNS}
        assert store.health().readings == READINGS
        assert store.dead_letters(DeadLetterQuery()) == []
    finally:
        store.close()
