"""Stores heartbeats in memory and derives process states, with the same results as view `process_state`."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from ingest_service.storage.processes import (
    AGAIN_S,
    EXPECTED,
    FORGIVE_S,
    KINDS,
    Identity,
    Limits,
    Process,
    Report,
    State,
)

if TYPE_CHECKING:
    from ingest_service.storage.memory_anomalies import MemoryAnomalies
    from ingest_service.storage.memory_letters import MemoryLetters
    from ingest_service.storage.model import AnomalyQuery, LetterQuery

STATES: dict[str, State] = {
    "": "alive",
    "gone": "absent",
    "never": "absent",
    "ended": "restarting",
    "starting": "restarting",
    "again": "restarting",
    "backlog": "behind",
}


@dataclass(slots=True)
class _Row:
    number: int
    identity: Identity
    limits: Limits
    started_s: float
    beat_s: float
    restarts: int
    report: Report = field(default_factory=Report)
    connected: bool = True


class MemoryProcesses:
    """Heartbeat rows by number; ``clock`` returns Unix time [s]."""

    def __init__(self) -> None:
        self.clock = time.time
        self._rows: dict[int, _Row] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def found(self) -> list[Process]:
        """Return every process with its state, and an absent one for each expected kind without a row."""
        with self._lock:
            now_s = self.clock()
            shown = [_process(one, now_s) for one in self._rows.values() if self._is_shown(one)]
        there = {one.kind for one in shown}
        shown += [_never(kind) for kind in EXPECTED if kind not in there]
        order = {kind: place for place, kind in enumerate(KINDS)}
        return sorted(
            shown,
            key=lambda one: (order.get(one.kind, 99), one.kind, one.instance, one.role, one.host, one.pid),
        )

    def register(self, identity: Identity, limits: Limits) -> int:
        """Insert a row, and delete the rows of ended processes with the same kind, instance and host."""
        with self._lock:
            now_s = self.clock()
            gone = [
                one
                for one in self._rows.values()
                if not one.connected
                and (one.identity.kind, one.identity.instance, one.identity.host)
                == (identity.kind, identity.instance, identity.host)
            ]
            before = [one.restarts + 1 for one in gone if one.beat_s > now_s - FORGIVE_S]
            for one in gone:
                del self._rows[one.number]
            number = next(self._numbers)
            self._rows[number] = _Row(number, identity, limits, now_s, now_s, max(before, default=0))
            return number

    def beat(self, number: int, report: Report) -> None:
        """Update the row of a process."""
        with self._lock:
            row, now_s = self._rows[number], self.clock()
            row.report, row.beat_s, row.connected = report, now_s, True
            if now_s - row.started_s > FORGIVE_S:
                row.restarts = 0

    def leave(self, number: int, *, kept: bool) -> None:
        """Record the end of a process; its row is kept if the end was not requested."""
        with self._lock:
            if not kept:
                self._rows.pop(number, None)
            elif number in self._rows:
                self._rows[number].connected = False

    def _is_shown(self, row: _Row) -> bool:
        slot = [one for one in self._rows.values() if _slot(one) == _slot(row)]
        newest = min(slot, key=lambda one: (not one.connected, -one.beat_s))
        return row.connected or row is newest


class MemoryPlatform:
    """Mixin of `MemoryStore`: processes and counts that the platform's health is derived from."""

    _anomalies: MemoryAnomalies
    _letters: MemoryLetters

    def __init__(self) -> None:
        self.registry = MemoryProcesses()

    def heartbeat(self, identity: Identity, limits: Limits) -> MemoryHeartbeat:
        """Return the heartbeat writer of a process."""
        return MemoryHeartbeat(self.registry, identity, limits)

    def processes(self) -> list[Process]:
        """Return every process of the platform and its state."""
        return self.registry.found()

    def count_anomalies(self, query: AnomalyQuery) -> int:
        """Count the anomalies that match a filter."""
        return len(self._anomalies.find(msgspec.structs.replace(query, limit=2**62)))

    def count_letters(self, query: LetterQuery) -> int:
        """Count the dead letters that match a filter."""
        return len(self._letters.find(query))

    def close(self) -> None:
        """Do nothing: there are no connections."""


class MemoryHeartbeat:
    """`ingest_service.storage.processes.Heartbeat` in memory."""

    def __init__(self, processes: MemoryProcesses, identity: Identity, limits: Limits) -> None:
        self._processes = processes
        self._identity = identity
        self._limits = limits
        self._number: int | None = None

    def beat(self, report: Report) -> None:
        """Write a report of the process."""
        if self._number is None:
            self._number = self._processes.register(self._identity, self._limits)
        self._processes.beat(self._number, report)

    def end(self) -> None:
        """Delete the row."""
        if self._number is not None:
            self._processes.leave(self._number, kept=False)

    def close(self) -> None:
        """Disconnect; the row stays."""
        if self._number is not None:
            self._processes.leave(self._number, kept=True)


def _slot(row: _Row) -> tuple[str, str]:
    return row.identity.kind, row.identity.instance


def _why(row: _Row, now_s: float) -> str:
    beat_age_s, report, limits = now_s - row.beat_s, row.report, row.limits
    reasons = (
        (not row.connected and beat_age_s < limits.absent_s, "ended"),
        (not row.connected, "gone"),
        (beat_age_s >= limits.absent_s, "silent"),
        (bool(report.fault), report.fault),
        (report.role == "starting", "starting"),
        (report.moved_age_s + beat_age_s >= limits.stuck_s, "still"),
        (report.backlog_age_s >= limits.behind_s, "backlog"),
        (row.restarts > 0 and now_s - row.started_s < AGAIN_S, "again"),
    )
    return next((why for holds, why in reasons if holds), "")


def _process(row: _Row, now_s: float) -> Process:
    why, report, beat_age_s = _why(row, now_s), row.report, now_s - row.beat_s
    return Process(
        kind=row.identity.kind,
        instance=row.identity.instance,
        host=row.identity.host,
        pid=row.identity.pid,
        started_s=row.started_s,
        role=report.role,
        areas=report.areas,
        state=STATES.get(why, "stuck"),
        why=why,
        detail=report.detail,
        works=why in ("", "again"),
        restarts=row.restarts,
        beat_age_s=beat_age_s,
        moved_age_s=report.moved_age_s + beat_age_s,
        success_age_s=None if report.success_age_s is None else report.success_age_s + beat_age_s,
        backlog_age_s=report.backlog_age_s,
    )


def _never(kind: str) -> Process:
    return Process(
        kind=kind,
        instance="",
        host="",
        pid=0,
        started_s=None,
        role="starting",
        areas=[],
        state="absent",
        why="never",
        detail="",
        works=False,
        restarts=0,
        beat_age_s=None,
        moved_age_s=None,
        success_age_s=None,
        backlog_age_s=0.0,
    )
