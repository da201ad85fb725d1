"""Tests that a test that fails once is reported as unstable, and one that fails twice as failed."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from tests.__main__ import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

TESTS = """
from pathlib import Path

ATTEMPTS = Path(__file__).with_name("attempts")


def test_fails_once():
    before = ATTEMPTS.read_text() if ATTEMPTS.exists() else ""
    ATTEMPTS.write_text(before + "x")
    assert before, "the first attempt"


def test_fails_twice():
    raise AssertionError("each attempt")


def test_passes():
    pass
"""
RUN = """
import sys
import pytest
from tests.__main__ import RERUNS, KindCounter

counter = KindCounter()
options = [*RERUNS, "-p", "no:cacheprovider", "--rootdir", sys.argv[1]]
pytest.main([*options, sys.argv[1]], plugins=[counter])
(name,) = counter.unstable
print("unstable:", name.partition("::")[2], "the first attempt" in counter.unstable[name])
print("counts:", sorted(counter.counts["doctests"].items()))
"""


def test_a_test_that_fails_once_is_unstable_and_one_that_fails_twice_has_failed(tmp_path: Path) -> None:
    (tmp_path / "test_attempts.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path)], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert "unstable: test_fails_once True" in done.stdout
    assert "counts: [('failed', 1), ('passed', 2)]" in done.stdout
