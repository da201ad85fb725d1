"""Response models of the platform's health: liveness, processes, and counts of the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from gateway import read_replica
from gateway.api.models import resource_models
from gateway.api.models.resource_models import ApiModel, UtcTime
from ingest_service.storage.health import process_messages
from ingest_service.storage.health.processes import ProcessState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.read_replica import ReadReplica
    from ingest_service.storage.health.process_messages import BilingualText
    from ingest_service.storage.health.processes import ProcessInfo


class LivenessResponse(ApiModel):
    """The process is alive or ready; otherwise the response is a problem."""

    status: Literal["ok"]


class BilingualTextResponse(ApiModel):
    """A sentence in both languages."""

    en: str
    zh: str


class ProcessHealthResponse(ApiModel):
    """A process of the platform; ages are by the clock of the database."""

    kind: str = Field(description="ingest, service or gateway", examples=["ingest"])
    instance: str = Field(description="The shard of ingest, or what else tells two of a kind apart")
    role: Literal["starting", "owner", "standby"]
    state: ProcessState
    works: bool = Field(description="Whether it does its work now")
    sentence_en: str = Field(description="The state, why, and what to do")
    sentence_zh: str
    host: str | None = Field(description="Where it runs; only for keys that are bound to no area")
    pid: int | None
    detail: str | None
    started: UtcTime | None = Field(description="Null where no such process ever came")
    restarts: int = Field(description="Unexpected ends in a row")
    beat_age_s: float | None = Field(description="Since it last reported")
    moved_age_s: float | None = Field(description="Since its main loop last moved on")
    success_age_s: float | None = Field(
        description="Since its last success (ingest: a commit; service: a round); null before the first"
    )
    backlog_age_s: float = Field(description="How long its oldest work waits")


class ReplicaHealthResponse(ApiModel):
    """The database's replica for queries; in any condition, no answer is older than its request."""

    condition: Literal["in use", "behind", "away", "refused"] = Field(
        description="Unless it is in use, the database itself answers"
    )
    lag_s: float | None = Field(description="How far it lags behind; null where unknown")
    sentence_en: str
    sentence_zh: str


class HealthResponse(ApiModel):
    """State and contents of the platform; ``ok``: a reading published now would be stored and judged."""

    status: Literal["ok", "failing"]
    problems: list[BilingualTextResponse] = Field(
        description="Why a reading would not be stored or not be judged"
    )
    processes: list[ProcessHealthResponse]
    edition: str = Field(examples=["TimescaleDB Apache 2.19.3"])
    schema_version: int
    readings: int
    open_anomalies: int
    dead_letters: int
    rollups_due: int = Field(description="Hours of series whose rollups are out of date")
    rejudge_due: int = Field(description="Series with late readings that wait to be judged again")
    newest_received: UtcTime | None
    replica: ReplicaHealthResponse | None = Field(description="Null without one in the gateway's settings")
    now: UtcTime


def bilingual_responses(sentences: Sequence[BilingualText]) -> list[BilingualTextResponse]:
    """Return sentences in both languages as models."""
    return [BilingualTextResponse(en=one.en, zh=one.zh) for one in sentences]


def replica_health_response(replica: ReadReplica | None) -> ReplicaHealthResponse | None:
    """Return the replica's condition as a model; None without a replica."""
    if replica is None:
        return None
    status = replica.status
    sentence = read_replica.TEXTS[status.reason]
    return ReplicaHealthResponse(
        condition=status.condition, lag_s=status.lag_s, sentence_en=sentence.en, sentence_zh=sentence.zh
    )


def process_health_response(process: ProcessInfo, *, shows_hosts: bool) -> ProcessHealthResponse:
    """Return a process as a model; host, process id and detail only where ``shows_hosts``."""
    sentence = process_messages.process_message(process)
    return ProcessHealthResponse(
        kind=process.kind,
        instance=process.instance,
        role=process.role,
        state=process.state,
        works=process.works,
        sentence_en=sentence.en,
        sentence_zh=sentence.zh,
        host=(process.host or None) if shows_hosts else None,
        pid=(process.pid or None) if shows_hosts else None,
        detail=(process.detail or None) if shows_hosts else None,
        started=None if process.started_s is None else resource_models.utc_datetime(process.started_s),
        restarts=process.restarts,
        beat_age_s=process.beat_age_s,
        moved_age_s=process.moved_age_s,
        success_age_s=process.success_age_s,
        backlog_age_s=process.backlog_age_s,
    )
