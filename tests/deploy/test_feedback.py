"""`towntwin feedback` as its user runs it, on a real TimescaleDB."""

from __future__ import annotations

import subprocess
import sys

from ingest_service.storage.migrate import migrate
from ingest_service.storage.postgres import PostgresStore
from tests.support.audit import audited
from tests.support.kept import DIRECTORY, anomaly
from tests.support.processes import REPOSITORY


def test_the_command_moves_limits_and_takes_it_back(timescale_dsn: str) -> None:
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn)
    store.enrol(DIRECTORY)
    silent = anomaly(subject="device/d1", series_id=None, device_id="d1", detector="silence")
    store.record([anomaly(), silent])

    def said(*arguments: str) -> tuple[int, str]:
        told = ["--who", "Wang", "--note", "a boat", "--dsn", timescale_dsn]
        done = subprocess.run(
            [sys.executable, "-m", "deploy", "feedback", *arguments, *told],
            capture_output=True,
            text=True,
            check=False,
            cwd=REPOSITORY,
        )
        return done.returncode, done.stdout.strip()

    assert said("1", "false-alarm") == (0, "the score limits of s1/ph are moved by +0.5 now")
    assert said("1", "confirmed") == (0, "the score limits of s1/ph are moved by -0.25 now")
    assert said("1", "withdraw") == (0, "the score limits of s1/ph are moved by +0 now")
    assert said("1", "withdraw") == (1, "nothing stands of anomaly 1 that could be withdrawn")
    assert said("2", "false-alarm") == (
        0,
        "kept; an anomaly of device/d1 has no series whose limits could move",
    )
    assert said("99", "confirmed") == (1, "there is no anomaly 99")
    assert audited(store, "feedback") == [
        ("feedback", f"anomaly={number} verdict={verdict} who=Wang note='a boat'")
        for number, verdict in ((1, "false-alarm"), (1, "confirmed"), (1, "withdraw"), (2, "false-alarm"))
    ]
    assert [one.note for one in store.feedback(series_id=1)] == ["a boat", "a boat"]
    store.close()
