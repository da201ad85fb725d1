"""Runs all checks and tests of the project: ``python -m tests [--check-only] [PYTEST ARGUMENTS]``.

First the static checks (format, lint, types, imports) run while the real servers and the browser are
installed and the judge is compiled, then pytest runs the tests in parallel; at the end the number of tests
and their seconds are printed by kind. A test that fails is run once more: if it passes then, it is reported
as unstable with the error of its first attempt, and more than a few such tests fail the run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from analytics.core import judge
from deploy.debian_servers.installation import InstallationError
from tests.support import browser, server_installation, timescale_community

REPOSITORY = Path(__file__).parents[1]
CHECKS = {
    "format": ["ruff", "format", "--check", "--quiet", "."],
    "lint": ["ruff", "check", "--quiet", "."],
    "types": ["mypy"],
    "imports": ["lint-imports"],
}
# Tests wait more than they compute: three workers on two cores.
WORKERS = ["-n", str(max(3, len(os.sched_getaffinity(0)))), "--dist", "worksteal"]
# Real processes on a loaded machine: a test that assumed too much of their speed fails once in many runs, and
# a test that finds a fault fails again (docs/decisions/0093).
RERUNS = ["--reruns", "1"]
MAX_UNSTABLE = 3
COUNTED = ("passed", "failed", "skipped", "error")


class KindCounter:
    """A pytest plug-in that counts tests and seconds by kind: the folder under ``tests``, and doctests.

    It also collects the errors of tests that failed and passed when they were run again (``unstable``).
    """

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self.seconds: dict[str, float] = defaultdict(float)
        self._errors_of_first_attempt: dict[str, str] = {}
        self._failed: set[str] = set()

    @property
    def unstable(self) -> dict[str, str]:
        """Return the first error of tests that passed when they were run again, by node id."""
        return {
            nodeid: error
            for nodeid, error in self._errors_of_first_attempt.items()
            if nodeid not in self._failed
        }

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count one phase of one test; the time of a fixture counts for the test that created it."""
        kind = kind_of(report.nodeid)
        self.seconds[kind] += report.duration
        if str(report.outcome) == "rerun":  # of pytest-rerunfailures, in place of "failed"
            self._errors_of_first_attempt[report.nodeid] = report.longreprtext
        elif report.failed:
            self._failed.add(report.nodeid)
            self.counts[kind]["failed" if report.when == "call" else "error"] += 1
        elif report.skipped:
            self.counts[kind]["skipped"] += 1
        elif report.when == "call":
            self.counts[kind]["passed"] += 1

    def table(self) -> str:
        """Return a table with one line per kind and a total."""
        total = sum(self.counts.values(), Counter[str]())
        rows = [*((kind, self.counts[kind], self.seconds[kind]) for kind in sorted(self.seconds))]
        rows.append(("all", total, sum(self.seconds.values())))
        return "\n".join(
            f"{kind:16}{sum(counts.values()):6} tests {seconds:8.1f} s{unsuccessful_counts(counts)}"
            for kind, counts, seconds in rows
        )


def kind_of(nodeid: str) -> str:
    """Return the kind of a test: its folder under ``tests``, or ``doctests``.

    >>> kind_of("tests/edge/agent/test_spool.py::test_it"), kind_of("edge/wire/senml.py::edge.wire.senml")
    ('edge', 'doctests')
    """
    first, *rest = nodeid.partition("::")[0].split("/")
    return rest[0] if first == "tests" and len(rest) > 1 else "doctests"


def unsuccessful_counts(counts: Counter[str]) -> str:
    """Return the counts of tests that did not pass, as text; empty if all passed."""
    words = [f"{counts[what]} {what}" for what in COUNTED[1:] if counts[what]]
    return f"  ({', '.join(words)})" if words else ""


def check() -> bool:
    """Run the static checks; return whether all of them passed."""
    all_passed = True
    for name, command in CHECKS.items():
        started = time.monotonic()
        program = Path(sys.executable).parent / command[0]
        done = subprocess.run(
            [program, *command[1:]], cwd=REPOSITORY, check=False, capture_output=True, text=True
        )
        all_passed = all_passed and done.returncode == 0
        verdict = "ok" if done.returncode == 0 else f"FAILED\n{done.stdout}{done.stderr}"
        print_line(f"{name} ({time.monotonic() - started:.1f} s): {verdict}")
    return all_passed


def provide() -> None:
    """Install the servers and the browser where possible; the tests report what is missing."""
    for what in (server_installation, browser, timescale_community):
        try:
            what.provide(print_line)
        except InstallationError as error:
            print_line(str(error))
    judge.warm_up()  # otherwise many processes of the tests compile it at once, as it is cached only then


def print_line(sentence: str) -> None:
    """Print a line and flush it, as some steps are long."""
    print(f"tests: {sentence}", flush=True)


def main(arguments: list[str]) -> int:
    """Run all checks and tests; return 0 only if all of them passed."""
    started = time.monotonic()
    if "--check-only" in arguments:
        return 0 if check() else 1
    with ThreadPoolExecutor(1) as beside:  # the checks compute while the servers are downloaded
        checked = beside.submit(check)
        provide()
        all_passed = checked.result()
    kinds = KindCounter()
    code = pytest.main([*WORKERS, *RERUNS, *arguments], plugins=[kinds])
    print(f"\n{kinds.table()}")
    for nodeid, error in kinds.unstable.items():
        print_line(f"UNSTABLE: {nodeid} passed when it was run again; it failed first with\n{error}")
    if len(kinds.unstable) > MAX_UNSTABLE:
        print_line(f"{len(kinds.unstable)} unstable tests; at most {MAX_UNSTABLE} are accepted")
        all_passed = False
    print_line(
        f"{'all is well' if all_passed and code == 0 else 'FAILED'} after {time.monotonic() - started:.0f} s"
    )
    return int(code) or (0 if all_passed else 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
