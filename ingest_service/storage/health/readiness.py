"""Assesses readiness: whether a reading published now would be stored and judged, and why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ingest_service.storage.health import process_messages as words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ingest_service.storage.health.process_messages import BilingualText
    from ingest_service.storage.health.processes import ProcessInfo

ALL_AREAS_MARK = "+"


class Readiness(msgspec.Struct, frozen=True):
    """Result of the assessment; unless ``ok``, ``problems`` has a message for each reason."""

    ok: bool
    problems: list[BilingualText]


def assess_readiness(
    processes: Sequence[ProcessInfo],
    areas: Iterable[str],
    *,
    writable: bool = True,
    may_name_areas: bool = True,
) -> Readiness:
    """Assess whether a reading of any of these areas would be stored and judged.

    Each area needs an ingest process that owns a shard with it and works: it is connected and subscribed,
    commits or could, is not behind, and judges. If no device is enrolled, one such process must exist.

    Parameters
    ----------
    areas : areas with enrolled devices
    may_name_areas : whether messages may name areas
    writable : whether the database accepted the last heartbeat of the calling process

    """
    if not writable:
        return Readiness(ok=False, problems=[words.NOT_WRITABLE_TEXT])
    ingest = [one for one in processes if one.kind == "ingest"]
    working = [one for one in ingest if one.works and one.role == "owner"]
    covered_areas = {area for one in working for area in one.areas}
    missing = [] if ALL_AREAS_MARK in covered_areas else sorted(set(areas) - covered_areas)
    if working and not missing:
        return Readiness(ok=True, problems=[])
    problems = [words.process_message(one) for one in ingest if not one.works and _could_take(one, missing)]
    if not problems:
        problems = [
            words.missing_shard_message(missing if may_name_areas else []) if working else words.NO_OWNER_TEXT
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
