"""Tests the supervision of the child processes of `up`: restarts, reset of the count, and giving up."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from deploy.up import child_processes as children_module
from deploy.up.child_processes import ChildProcess, ChildProcesses
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WITHIN_S = 60.0


@pytest.fixture
def printed() -> list[str]:
    return []


@pytest.fixture
def children(tmp_path: Path, printed: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[ChildProcesses]:
    monkeypatch.setattr(children_module, "RESTART_DELAY_S", 0.01)
    monkeypatch.setattr(children_module, "MAX_RESTARTS", 1)
    one = ChildProcesses({"TOWNTWIN_DSN": "", "TOWNTWIN_BROKER": ""}, tmp_path / "logs", printed.append)
    yield one
    one.stop_all()


def look(children: ChildProcesses) -> bool:
    children.restart_ended()
    return bool(children.lost)


def test_a_process_that_dies_for_good_is_reported_in_plain_words_once(
    children: ChildProcesses, printed: list[str], tmp_path: Path
) -> None:
    child = children.start("ingest", "--batch-messages", "none")  # a setting that ends it at once
    wait_until(lambda: look(children), within_s=WITHIN_S, what="it is given up")
    for _ in range(3):
        children.restart_ended()
    assert child.restarts == 1
    assert len(printed) == 2
    assert "starting it again" in printed[0]
    assert printed[1] == children.lost[0]
    assert printed[1].startswith(
        "ingest HAS ENDED FOR GOOD: it ended 2 times in a row, at last with exit code 2"
    )
    assert "no reading is stored or judged any more" in printed[1]
    assert str(tmp_path / "logs/ingest.log") in printed[1]
    assert not children.healthy


def test_one_that_ran_well_for_long_has_its_restarts_again(children: ChildProcesses) -> None:
    """Six deaths in a month ended a process for good."""
    child = children.start("settings", once=False)
    wait_until(lambda: _ended(child), within_s=WITHIN_S, what="it ended")
    children.restart_ended()
    assert child.restarts == 1
    child.started_s -= children_module.RESTART_RESET_S + 1
    children.restart_ended()  # while it runs
    assert (child.restarts, child.lost) == (0, False)
    assert not children.healthy, "that it was restarted is not forgotten"


def _ended(child: ChildProcess) -> bool:
    time.sleep(0.05)
    return child.process is not None and child.process.poll() is not None
