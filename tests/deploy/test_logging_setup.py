"""Tests the logs: untrusted text is one bounded line, without query strings, readable by the owner only."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from deploy.embedded.server_environment import open_log
from deploy.logging_setup import MAX_REPEATS

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import logging, structlog
from deploy.logging_setup import configure
from deploy.settings import CommonSettings
configure(CommonSettings(log_format={form!r}))
log = structlog.get_logger()
log.warning("asked", path="a\\nb\\x1b[31m", deep={{"of": ["\\x00", "\\u202e"]}}, long="x" * 100_000)
library = logging.getLogger("uvicorn.error")
library.setLevel(logging.INFO)
for at in range(500):
    library.info('%s - "WebSocket %s" [accepted]', "127.0.0.1", f"/live/?client_id=secret{{at}}")
library.error("forged\\n2026-01-01 [info] all is well \\x1b[2J")
try:
    raise ValueError("told\\x1b[31m red")
except ValueError:
    log.exception("failed")
    library.exception("failed")
"""

CONCURRENT_PROGRAM = """
import logging, sys, threading, structlog
from deploy.logging_setup import configure
from deploy.settings import CommonSettings
sys.setswitchinterval(1e-6)
configure(CommonSettings(log_format="json"))
log, library = structlog.get_logger(), logging.getLogger("library")
def write(number):
    for at in range(1500):
        library.error(f"{number} {at}") if number % 2 else log.error("refused", number=number, at=at)
threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
logging.getLogger().handlers[0].filters.clear()  # the limit of repeated lines
[thread.start() for thread in threads]; [thread.join() for thread in threads]
"""


def test_lines_of_several_threads_and_of_both_loggers_are_never_mixed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CONCURRENT_PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    assert [json.loads(line)["level"] for line in done.stderr.splitlines()] == ["error"] * 6000


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_others_sent_is_one_line_without_controls_and_bounded(form: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(form=form)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    lines = done.stderr.split("\n")
    assert all(line.isprintable() for line in lines)
    assert [line for line in lines if line.startswith("2026-01-01 [info]")] == []
    assert len(done.stderr) < 40_000
    assert "secret" not in done.stderr
    assert sum("WebSocket" in line for line in lines) == MAX_REPEATS
    assert "told" in done.stderr


def test_a_log_is_for_its_owner_alone_also_where_it_was_open_before(tmp_path: Path) -> None:
    path = tmp_path / "gateway.log"
    path.write_text("before\n")
    path.chmod(0o644)
    with open_log(path, append=True) as log:
        log.write(b"after\n")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("before\nafter\n", 0o600)
    with open_log(path):
        pass
    assert path.read_text() == ""
