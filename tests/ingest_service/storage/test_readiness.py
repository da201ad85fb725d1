"""Tests by table whether a reading published now would be stored, given the states of the processes."""

from __future__ import annotations

from typing import Any

import pytest

from ingest_service.storage.health import process_messages
from ingest_service.storage.health.processes import ProcessInfo
from ingest_service.storage.health.readiness import assess_readiness


def process(**changed: Any) -> ProcessInfo:
    usual: dict[str, Any] = {
        "kind": "ingest",
        "instance": "main",
        "host": "h",
        "pid": 1,
        "started_s": 1.0,
        "role": "owner",
        "areas": ["+"],
        "state": "alive",
        "why": "",
        "detail": "",
        "works": True,
        "restarts": 0,
        "beat_age_s": 1.0,
        "moved_age_s": 1.0,
        "success_age_s": None,
        "backlog_age_s": 0.0,
    }
    return ProcessInfo(**usual | changed)


BROKEN = {"state": "stuck", "why": "broker", "works": False}
NORTH, SOUTH = {"instance": "north", "areas": ["n"]}, {"instance": "south", "areas": ["s"]}
READINESS_CASES: list[tuple[list[dict[str, Any]], list[str], bool, list[str]]] = [
    ([{}], ["n", "s"], True, []),
    ([{}], [], True, []),
    ([], [], False, ["none owns its shard"]),
    ([{"state": "restarting", "why": "again"}], ["n"], True, []),
    ([{"role": "standby"}], ["n"], False, ["none owns its shard"]),
    ([BROKEN], ["n"], False, ["the broker does not answer"]),
    ([BROKEN, {"role": "standby"}], ["n"], False, ["the broker does not answer"]),
    ([NORTH, SOUTH], ["n", "s"], True, []),
    ([NORTH, SOUTH | BROKEN], ["n", "s"], False, ["ingest south is stuck"]),
    ([NORTH, SOUTH | BROKEN], ["n"], True, []),
    ([NORTH], ["n", "s"], False, ["no process takes the readings of s"]),
    ([{}, {"kind": "service", "state": "absent", "works": False}], ["n"], True, []),
]


@pytest.mark.parametrize(("processes", "areas", "ok", "problems"), READINESS_CASES)
def test_verdicts_by_table(
    processes: list[dict[str, Any]], areas: list[str], ok: object, problems: list[str]
) -> None:
    found = assess_readiness([process(**one) for one in processes], areas)
    assert found.ok is ok
    assert len(found.problems) == len(problems)
    assert all(part in one.en for part, one in zip(problems, found.problems, strict=True))


def test_a_database_that_takes_no_writes_is_not_ok() -> None:
    found = assess_readiness([process()], ["n"], database="read-only")
    assert (found.ok, found.problems) == (False, [process_messages.NOT_WRITABLE_TEXT])


def test_a_database_that_does_not_answer_is_not_called_read_only() -> None:
    found = assess_readiness([process()], ["n"], database="away")
    assert (found.ok, found.problems) == (False, [process_messages.DATABASE_AWAY_TEXT])


def test_every_word_is_there_in_both_languages() -> None:
    for table in (process_messages.KIND_LABELS, process_messages.STATE_LABELS, process_messages.REASON_TEXTS):
        assert all(one.en and one.zh and one.en != one.zh for one in table.values())
