"""Data classes of process health: identity, heartbeat report, limits, and the state derived from them."""

from __future__ import annotations

import os
import socket
from typing import Literal, Protocol

import msgspec

ProcessRole = Literal["starting", "owner", "standby"]
ProcessState = Literal["alive", "stuck", "behind", "absent", "restarting", "unknown"]
DatabaseCondition = Literal["writable", "read-only", "away"]
"""Whether the database accepts writes, answers without accepting them, or does not answer in time."""

KINDS_IN_ORDER = ("ingest", "service", "gateway", "access", "hj212", "federation")
"""Kinds in the order of display; processes of other kinds follow."""
EXPECTED_KINDS = ("ingest", "service")
"""Kinds of which a platform has at least one; one without any process is shown as absent."""
READ_TIMEOUT_S = 2.0
"""Time within which health has to be answered; a database that takes longer counts as away [s]."""
RESTART_WINDOW_S = 600.0
"""Restarts are counted together as long as no more than this passes between them [s]."""
SHOWN_RESTARTING_S = 30.0
"""Time for which a restarted process is shown as restarting [s]."""
MAX_BEAT_GAP_S = 5.0
"""Time without a heartbeat of any process after which the database is taken to have been away [s]."""
RECONNECT_S = 3.0
"""Time after its last heartbeat for which a process without a connection may be reconnecting [s]."""
ROW_EXPIRY_S = 86_400.0
"""Time after which the row of an ended process is deleted [s]."""


class ProcessIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Identity of a process. ``instance`` is the shard of ingest, or distinguishes processes of a kind."""

    kind: str
    instance: str
    host: str = msgspec.field(default_factory=socket.gethostname)
    pid: int = msgspec.field(default_factory=os.getpid)


class HealthLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Times after which a process counts as absent, stuck or behind [s]; each process sets its own."""

    absent_s: float = 8.0
    stuck_s: float = 30.0
    behind_s: float = 30.0


class HeartbeatReport(msgspec.Struct, frozen=True, kw_only=True):
    """Content of one heartbeat; ages are as of the heartbeat [s].

    Parameters
    ----------
    moved_age_s : since the last iteration of the main loop
    success_age_s : since the last success (ingest: a commit, service: a full round); None before the first
    backlog_age_s : age of the oldest waiting work
    fault : a key of `ingest_service.storage.health.process_messages.REASON_TEXTS`; empty if there is none
    detail : more about the fault, for principals whose scope is the whole platform
    areas : areas whose readings it stores; ``+`` is every area

    """

    role: ProcessRole = "starting"
    areas: list[str] = msgspec.field(default_factory=list)
    moved_age_s: float = 0.0
    success_age_s: float | None = None
    backlog_age_s: float = 0.0
    fault: str = ""
    detail: str = ""


class ProcessInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A process and its state, by the clock of the database.

    ``works`` is true while it does its work: it is alive, or was restarted and is alive since. ``why`` is a
    key of `ingest_service.storage.health.process_messages.REASON_TEXTS`. ``started_s`` is None if no such
    process ever started.
    """

    kind: str
    instance: str
    host: str
    pid: int
    started_s: float | None
    role: ProcessRole
    areas: list[str]
    state: ProcessState
    why: str
    detail: str
    works: bool
    restarts: int
    beat_age_s: float | None
    moved_age_s: float | None
    success_age_s: float | None
    backlog_age_s: float


class ProcessReader(Protocol):
    """Reads the state of the processes within `READ_TIMEOUT_S`, also while the database is frozen."""

    def processes(self) -> list[ProcessInfo]:
        """Return every process of the platform and its state. Raises as the store does."""
        ...

    def close(self) -> None:
        """Close the connection; the next read opens another."""
        ...


class HeartbeatWriter(Protocol):
    """Writer of one process' heartbeat row. Methods raise `StoreUnavailableError` and `StoreRefusedError`."""

    def beat(self, report: HeartbeatReport) -> None:
        """Write a report of the process; inserts the row at the first call."""
        ...

    def end(self) -> None:
        """Delete the row, after a requested stop."""
        ...

    def close(self) -> None:
        """Close the connection; the row stays, and shows the process as absent."""
        ...
