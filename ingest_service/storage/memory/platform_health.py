"""Stores heartbeats in memory and derives process states, with the same results as view `process_state`."""

from __future__ import annotations

import itertools
import math
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import msgspec

from ingest_service.storage.health.processes import (
    EXPECTED_KINDS,
    KINDS_IN_ORDER,
    MAX_BEAT_GAP_S,
    RECONNECT_S,
    RESTART_WINDOW_S,
    SHOWN_RESTARTING_S,
    HealthLimits,
    HeartbeatReport,
    ProcessIdentity,
    ProcessInfo,
    ProcessState,
)

if TYPE_CHECKING:
    from ingest_service.storage.contract.models import AnomalyQuery, DeadLetterQuery
    from ingest_service.storage.memory.anomalies import MemoryAnomalies
    from ingest_service.storage.memory.dead_letters import MemoryDeadLetters

STATE_OF_REASON: dict[str, ProcessState] = {
    "": "alive",
    "gone": "absent",
    "never": "absent",
    "ended": "restarting",
    "starting": "restarting",
    "compiling": "restarting",
    "again": "restarting",
    "backlog": "behind",
    "unreported": "unknown",
    "reconnecting": "unknown",
}


@dataclass(slots=True)
class _ProcessRow:
    number: int
    identity: ProcessIdentity
    limits: HealthLimits
    started_s: float
    beat_s: float
    restarts: int
    report: HeartbeatReport = field(default_factory=HeartbeatReport)
    connected: bool = True


class MemoryProcesses:
    """Heartbeat rows by number; ``clock`` returns Unix time [s]."""

    def __init__(self) -> None:
        self.clock = time.time
        self._rows: dict[int, _ProcessRow] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self.resumed_s = -math.inf  # when heartbeats resumed after a gap

    def all_processes(self) -> list[ProcessInfo]:
        """Return every process with its state, and an absent one for each expected kind without a row."""
        with self._lock:
            now_s = self.clock()
            shown_processes = [
                _process_info(one, now_s, self.resumed_s)
                for one in self._rows.values()
                if self._is_shown(one)
            ]
        present_kinds = {one.kind for one in shown_processes}
        shown_processes += [_absent_process(kind) for kind in EXPECTED_KINDS if kind not in present_kinds]
        order = {kind: rank for rank, kind in enumerate(KINDS_IN_ORDER)}
        return sorted(
            shown_processes,
            key=lambda one: (order.get(one.kind, 99), one.kind, one.instance, one.role, one.host, one.pid),
        )

    def register(self, identity: ProcessIdentity, limits: HealthLimits) -> int:
        """Insert a row, and delete the rows of ended processes with the same kind, instance and host."""
        with self._lock:
            now_s = self.clock()
            ended_rows = [
                one
                for one in self._rows.values()
                if not one.connected
                and (one.identity.kind, one.identity.instance, one.identity.host)
                == (identity.kind, identity.instance, identity.host)
            ]
            self._note_gap(now_s)
            restart_counts = [one.restarts + 1 for one in ended_rows if one.beat_s > now_s - RESTART_WINDOW_S]
            for one in ended_rows:
                del self._rows[one.number]
            number = next(self._numbers)
            self._rows[number] = _ProcessRow(
                number, identity, limits, now_s, now_s, max(restart_counts, default=0)
            )
            return number

    def beat(self, number: int, report: HeartbeatReport) -> None:
        """Update the row of a process."""
        with self._lock:
            row, now_s = self._rows[number], self.clock()
            self._note_gap(now_s)
            row.report, row.beat_s, row.connected = report, now_s, True
            if now_s - row.started_s > RESTART_WINDOW_S:
                row.restarts = 0

    def end_process(self, number: int, *, keep_row: bool) -> None:
        """Record the end of a process; its row is kept if the end was not requested."""
        with self._lock:
            if not keep_row:
                self._rows.pop(number, None)
            elif number in self._rows:
                self._rows[number].connected = False

    def _note_gap(self, now_s: float) -> None:
        newest_s = max((one.beat_s for one in self._rows.values()), default=math.inf)
        if newest_s < now_s - MAX_BEAT_GAP_S:
            self.resumed_s = now_s

    def _is_shown(self, row: _ProcessRow) -> bool:
        slot = [one for one in self._rows.values() if _kind_and_instance(one) == _kind_and_instance(row)]
        newest = min(slot, key=lambda one: (not one.connected, -one.beat_s))
        return row.connected or row is newest


class MemoryPlatformHealth:
    """Mixin of `MemoryStore`: processes and counts that the platform's health is derived from."""

    _anomalies: MemoryAnomalies
    _dead_letters: MemoryDeadLetters

    def __init__(self) -> None:
        self.registry = MemoryProcesses()

    def heartbeat(self, identity: ProcessIdentity, limits: HealthLimits) -> MemoryHeartbeat:
        """Return the heartbeat writer of a process."""
        return MemoryHeartbeat(self.registry, identity, limits)

    def process_reader(self) -> Self:
        """Return this store, which answers at once."""
        return self

    def processes(self) -> list[ProcessInfo]:
        """Return every process of the platform and its state."""
        return self.registry.all_processes()

    def count_anomalies(self, query: AnomalyQuery) -> int:
        """Count the anomalies that match a filter."""
        return len(self._anomalies.find(msgspec.structs.replace(query, limit=2**62)))

    def count_dead_letters(self, query: DeadLetterQuery) -> int:
        """Count the dead letters that match a filter."""
        return len(self._dead_letters.find(query))

    def close(self) -> None:
        """Do nothing: there are no connections."""


class MemoryHeartbeat:
    """`ingest_service.storage.health.processes.Heartbeat` in memory."""

    def __init__(self, processes: MemoryProcesses, identity: ProcessIdentity, limits: HealthLimits) -> None:
        self._processes = processes
        self._identity = identity
        self._limits = limits
        self._number: int | None = None

    def beat(self, report: HeartbeatReport) -> None:
        """Write a report of the process."""
        if self._number is None:
            self._number = self._processes.register(self._identity, self._limits)
        self._processes.beat(self._number, report)

    def end(self) -> None:
        """Delete the row."""
        if self._number is not None:
            self._processes.end_process(self._number, keep_row=False)

    def close(self) -> None:
        """Disconnect; the row stays."""
        if self._number is not None:
            self._processes.end_process(self._number, keep_row=True)


def _kind_and_instance(row: _ProcessRow) -> tuple[str, str]:
    return row.identity.kind, row.identity.instance


def _reason(row: _ProcessRow, now_s: float, resumed_s: float) -> str:
    beat_age_s, report, limits = now_s - row.beat_s, row.report, row.limits
    reasons = (
        (row.beat_s < resumed_s and now_s - resumed_s < limits.absent_s, "unreported"),
        (not row.connected and beat_age_s < RECONNECT_S, "reconnecting"),
        (not row.connected and beat_age_s < limits.absent_s, "ended"),
        (not row.connected, "gone"),
        (beat_age_s >= limits.absent_s, "silent"),
        (bool(report.fault), report.fault),
        (report.role == "starting", "starting"),
        (report.moved_age_s + beat_age_s >= limits.stuck_s, "still"),
        (report.backlog_age_s >= limits.behind_s, "backlog"),
        (row.restarts > 0 and now_s - row.started_s < SHOWN_RESTARTING_S, "again"),
    )
    return next((why for holds, why in reasons if holds), "")


def _process_info(row: _ProcessRow, now_s: float, resumed_s: float) -> ProcessInfo:
    why, report, beat_age_s = _reason(row, now_s, resumed_s), row.report, now_s - row.beat_s
    return ProcessInfo(
        kind=row.identity.kind,
        instance=row.identity.instance,
        host=row.identity.host,
        pid=row.identity.pid,
        started_s=row.started_s,
        role=report.role,
        areas=report.areas,
        state=STATE_OF_REASON.get(why, "stuck"),
        why=why,
        detail=report.detail,
        works=why in ("", "again"),
        restarts=row.restarts,
        beat_age_s=beat_age_s,
        moved_age_s=report.moved_age_s + beat_age_s,
        success_age_s=None if report.success_age_s is None else report.success_age_s + beat_age_s,
        backlog_age_s=report.backlog_age_s,
    )


def _absent_process(kind: str) -> ProcessInfo:
    return ProcessInfo(
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
