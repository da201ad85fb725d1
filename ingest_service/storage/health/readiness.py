"""Assesses readiness: whether a reading published now would be stored and judged, and why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ingest_service.storage.health import process_messages

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ingest_service.storage.health.process_messages import BilingualText
    from ingest_service.storage.health.processes import DatabaseCondition, ProcessInfo

ALL_AREAS_MARK = "+"


class Readiness(msgspec.Struct, frozen=True):
    """Result of the assessment; unless ``ok``, ``problems`` has a message for each reason.

    ``database`` is the condition it was assessed with: what is shown beside it has to be of the same one.
    """

    ok: bool
    problems: list[BilingualText]
    database: DatabaseCondition = "writable"


def assess_readiness(
    processes: Sequence[ProcessInfo],
    areas: Iterable[str],
    *,
    database: DatabaseCondition = "writable",
    may_name_areas: bool = True,
) -> Readiness:
    """Assess whether a reading of any of these areas would be stored and judged.

    Each area needs an ingest process that owns a shard with it and works: it is connected and subscribed,
    commits or could, is not behind, and judges. If no device is enrolled, one such process must exist.

    Parameters
    ----------
    areas : areas with enrolled devices
    database : by the last heartbeat or write of the calling process; unless it is writable, the states of
        the processes are out of date, and the database is the only problem
    may_name_areas : whether messages may name areas

    """
    if database == "away":
        return Readiness(ok=False, problems=[process_messages.DATABASE_AWAY_TEXT], database=database)
    if database == "read-only":
        return Readiness(ok=False, problems=[process_messages.NOT_WRITABLE_TEXT], database=database)
    ingest = [one for one in processes if one.kind == "ingest"]
    working = [one for one in ingest if one.works and one.role == "owner"]
    covered_areas = {area for one in working for area in one.areas}
    missing = [] if ALL_AREAS_MARK in covered_areas else sorted(set(areas) - covered_areas)
    if working and not missing:
        return Readiness(ok=True, problems=[])
    problems = [
        process_messages.process_message(one) for one in ingest if not one.works and _could_take(one, missing)
    ]
    if not problems:
        problems = [
            process_messages.missing_shard_message(missing if may_name_areas else [])
            if working
            else process_messages.NO_OWNER_TEXT
        ]
    return Readiness(ok=False, problems=problems)


def _could_take(process: ProcessInfo, areas: list[str]) -> bool:
    """Whether a process could ingest one of some areas; one that never reported its areas could any."""
    return (
        not areas
        or not process.areas
        or ALL_AREAS_MARK in process.areas
        or bool(set(areas) & set(process.areas))
    )
