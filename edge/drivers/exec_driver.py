"""Driver that runs a program at a cadence and reads what it prints: a SenML pack, or lines ``name=value``.

``ph=7.2`` is a reading of channel ``ph`` now; ``ph=7.2 pH`` has a unit.
"""

from __future__ import annotations

import math
import random
import subprocess
import time
from typing import TYPE_CHECKING

from edge.drivers import Pack
from edge.wire import senml
from edge.wire.boot_clock import boot_clock_s
from edge.wire.errors import PayloadError
from edge.wire.senml import NAME, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

POLL_S = 0.1
MAX_OUTPUT_BYTES = 1 << 20


def parse_output(output: bytes, now_s: float) -> list[Record]:
    r"""Decode what a program printed. Raises `PayloadError` with the line that is wrong.

    >>> [(one.name, one.value, one.unit) for one in parse_output(b"ph=7.2 pH\nlevel=1.5\n", 1.7e9)]
    [('ph', 7.2, 'pH'), ('level', 1.5, None)]
    """
    text = output[:MAX_OUTPUT_BYTES].strip()
    if text[:1] == b"[":
        return senml.decode(text, content_type=senml.CONTENT_TYPE_JSON, now_s=now_s)
    records = []
    for line in text.decode("utf-8", "replace").splitlines():
        name, equals, rest = line.partition("=")
        value_text, _, unit = rest.strip().partition(" ")
        try:
            value = float(value_text)
        except ValueError:
            value = math.nan
        if not equals or not NAME.fullmatch(name.strip()) or not math.isfinite(value):
            raise PayloadError(f"the line {line[:100]!r} is neither SenML nor name=value")
        records.append(Record(name=name.strip(), time_s=now_s, value=value, unit=unit.strip() or None))
    return records


class ExecDriver:
    """Runs a program each ``every_s`` [s], by the monotonic clock, delayed by up to ``jitter_s`` [s].

    A program that fails, prints nothing usable or runs longer than ``timeout_s`` [s] is reported and run
    again at its next time; it does not end the driver.
    """

    perishable = True

    def __init__(
        self,
        command: Sequence[str],
        *,
        every_s: float,
        jitter_s: float = 0.0,
        timeout_s: float = 30.0,
        on_refused: Callable[[str], None] = lambda _sentence: None,
    ) -> None:
        self._command = list(command)
        self._every_s, self._jitter_s, self._timeout_s = every_s, jitter_s, timeout_s
        self._on_refused = on_refused

    def packs(self) -> Iterator[Pack | None]:
        """Yield one pack for each run, None while it waits; it never ends."""
        next_s = time.monotonic()
        while True:
            due_s = next_s + random.random() * self._jitter_s
            while (wait_s := due_s - time.monotonic()) > 0:
                time.sleep(min(wait_s, POLL_S))
                yield None
            yield self._run_once()
            # Runs that were missed, as while the device slept, are not made up for.
            next_s = max(next_s + self._every_s, time.monotonic() - self._every_s)

    def _run_once(self) -> Pack | None:
        try:
            done = subprocess.run(
                self._command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self._timeout_s,
                check=False,
            )
            if done.returncode:
                last_line = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
                self._on_refused(f"{self._command[0]}: exit code {done.returncode}: {last_line}")
            now_s, taken_s = time.time(), boot_clock_s()
            records = parse_output(done.stdout, now_s)
        except (OSError, subprocess.TimeoutExpired, PayloadError) as error:
            self._on_refused(f"{self._command[0]}: {error}")
            return None
        return Pack(due_s=now_s, records=records, taken_s=taken_s) if records else None
