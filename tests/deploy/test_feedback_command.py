"""Tests `towntwin feedback` as a user runs it, on a real TimescaleDB."""

from __future__ import annotations

from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.audit_entries import audited_actions
from tests.support.processes import run_command
from tests.support.store_samples import DIRECTORY, anomaly


def test_the_command_moves_limits_and_takes_it_back(timescale_dsn: str) -> None:
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn)
    store.enrol(DIRECTORY)
    silent = anomaly(subject="device/d1", series_id=None, device_id="d1", detector="silence")
    store.record_anomalies([anomaly(), silent])

    def run_feedback(*arguments: str) -> tuple[int, str]:
        common_arguments = ["--who", "Wang", "--note", "a boat", "--dsn", timescale_dsn]
        done = run_command("feedback", *arguments, *common_arguments)
        return done.returncode, done.stdout.strip()

    assert run_feedback("1", "false-alarm") == (0, "the score limits of s1/ph are moved by +0.5 now")
    assert run_feedback("1", "confirmed") == (0, "the score limits of s1/ph are moved by -0.25 now")
    assert run_feedback("1", "withdraw") == (0, "the score limits of s1/ph are moved by +0 now")
    assert run_feedback("1", "withdraw") == (1, "nothing stands of anomaly 1 that could be withdrawn")
    assert run_feedback("2", "false-alarm") == (
        0,
        "kept; an anomaly of device/d1 has no series whose limits could move",
    )
    assert run_feedback("99", "confirmed") == (1, "there is no anomaly 99")
    assert audited_actions(store, "feedback") == [
        ("feedback", f"anomaly={number} verdict={verdict} who=Wang note='a boat'")
        for number, verdict in ((1, "false-alarm"), (1, "confirmed"), (1, "withdraw"), (2, "false-alarm"))
    ]
    assert [one.note for one in store.feedback(series_id=1)] == ["a boat", "a boat"]
    store.close()
