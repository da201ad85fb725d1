"""The processes of the platform: what each writes of itself, and the state that follows from it."""

from __future__ import annotations

import os
import socket
from typing import Literal, Protocol

import msgspec

Role = Literal["starting", "owner", "standby"]
State = Literal["alive", "stuck", "behind", "absent", "restarting"]

KINDS = ("ingest", "service", "gateway")
"""In the order in which they are shown; a process of another kind comes after these."""
EXPECTED = ("ingest", "service")
"""Kinds of which a platform has at least one: none of them is shown as absent."""
FORGIVE_S = 600.0
"""Restarts are counted as one series as long as no more than this lies between them [s]."""
AGAIN_S = 30.0
"""A process that was started again is shown as restarting for so long [s]."""
EXPIRE_S = 86_400.0
"""The row of a process that is gone is deleted after this [s]."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Which process it is. ``instance`` is the shard of ingest, or what else tells two of a kind apart."""

    kind: str
    instance: str
    host: str = msgspec.field(default_factory=socket.gethostname)
    pid: int = msgspec.field(default_factory=os.getpid)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """From when on a process counts as absent, stuck or behind; each writes its own [s]."""

    absent_s: float = 8.0
    stuck_s: float = 30.0
    behind_s: float = 30.0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a process writes of itself at one beat; ages are as of the beat [s].

    Parameters
    ----------
    moved_age_s : since the main loop last moved on
    success_age_s : since the last success (ingest: a commit, service: a whole round); None before the first
    backlog_age_s : how long the oldest work waits
    fault : a key of `ingest_service.storage.process_words.WHY`; empty where there is none
    detail : more about the fault, for whoever may see all of the platform
    areas : whose readings it stores; ``+`` is every area

    """

    role: Role = "starting"
    areas: list[str] = msgspec.field(default_factory=list)
    moved_age_s: float = 0.0
    success_age_s: float | None = None
    backlog_age_s: float = 0.0
    fault: str = ""
    detail: str = ""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A process and its state, by the clock of the database.

    ``works`` is true while it does its work: it is alive, or was started again and is alive since. ``why`` is
    a key of `ingest_service.storage.process_words.WHY`. ``started_s`` is None where no such process came.
    """

    kind: str
    instance: str
    host: str
    pid: int
    started_s: float | None
    role: Role
    areas: list[str]
    state: State
    why: str
    detail: str
    works: bool
    restarts: int
    beat_age_s: float | None
    moved_age_s: float | None
    success_age_s: float | None
    backlog_age_s: float


class Heartbeat(Protocol):
    """The row of one process. Every method raises `StoreUnavailable` and `StoreRefused` as the store does."""

    def beat(self, report: Report) -> None:
        """Write what the process reports of itself; registers it at the first call."""
        ...

    def end(self) -> None:
        """Delete the row: the process ends as it was asked to."""
        ...

    def close(self) -> None:
        """Let go of the connection; the row stays, and shows that the process is gone."""
        ...
