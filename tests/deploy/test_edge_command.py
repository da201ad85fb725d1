"""Tests `towntwin edge` as a technician runs it: pipes, signals, invalid lines."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

from deploy.__main__ import main
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[2]
GOOD = b'[{"n":"ph","u":"pH","v":7.1}]\n'
WITHIN_S = 60.0


class Command:
    """The command, its standard input, and what it wrote to standard error so far."""

    def __init__(self, folder: Path, broker: str = "mqtt://127.0.0.1:9") -> None:
        self.spool = folder / "spool"
        self._errors = folder / "stderr"
        arguments = ["--area", "a", "--device", "wz-01", "--spool", str(self.spool), "--broker", broker]
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deploy", "edge", *arguments],
                cwd=REPOSITORY,
                stdin=subprocess.PIPE,
                stderr=errors,
            )

    @property
    def stdin(self) -> IO[bytes]:
        """Its standard input, which stays open until it is closed."""
        assert self.process.stdin is not None
        return self.process.stdin

    def write(self, line: bytes) -> None:
        """As a script would print it."""
        self.stdin.write(line)
        self.stdin.flush()

    def errors(self) -> str:
        """What it wrote to standard error so far."""
        return self._errors.read_text()

    def waiting(self) -> int:
        """Messages in its spool."""
        if not self.spool.exists():
            return 0
        with closing(sqlite3.connect(self.spool)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'message'").fetchall():
                return 0
            return int(connection.execute("SELECT count(*) FROM message").fetchone()[0])

    def wait_for(self, words: str) -> None:
        """Wait until it wrote them to standard error."""
        wait_until(lambda: words in self.errors(), within_s=WITHIN_S, what=f"{words!r} on standard error")


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    """The command at a broker that is away."""
    one = Command(tmp_path)
    yield one
    one.process.kill()
    one.process.wait()
    one.stdin.close()


def test_sigterm_ends_it_while_standard_input_is_quiet_and_the_spool_is_kept(command: Command) -> None:
    command.write(GOOD)
    wait_until(lambda: command.waiting() == 1, within_s=WITHIN_S, what="the line is in the spool")
    command.process.send_signal(signal.SIGTERM)
    assert command.process.wait(30) == 0
    assert command.waiting() == 1
    assert "1 messages stay in the spool" in command.errors()


def test_a_refused_line_is_shown_at_once_and_makes_the_exit_code_1(command: Command) -> None:
    command.write(b"ph 7.1\n")
    command.wait_for("towntwin: line 1: ")
    command.write(b"x" * (3 << 20))
    command.wait_for("towntwin: line 2: it is longer than")
    command.write(b"\n" + GOOD.strip())
    command.stdin.close()
    wait_until(lambda: command.waiting() == 1, within_s=WITHIN_S, what="the last line is in the spool")
    command.process.send_signal(signal.SIGTERM)
    assert command.process.wait(30) == 1
    assert "2 lines were refused" in command.errors()


def test_a_spool_that_is_none_is_set_aside_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(b"no database" * 1000)
    one = Command(tmp_path)
    one.stdin.close()
    assert one.process.wait(WITHIN_S) == 0
    assert "is set aside as" in one.errors()
    assert "Traceback" not in one.errors()
    assert len(list(tmp_path.glob("spool.damaged-*Z"))) == 1


def test_an_area_that_can_be_no_topic_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spool = str(tmp_path / "spool")
    arguments = ["--area", "a/+", "--device", "wz-01", "--spool", spool, "--broker", "mqtt://127.0.0.1:9"]
    assert main(["edge", *arguments]) == 2
    assert "--area: 'a/+' can't stand in a topic" in capsys.readouterr().err
