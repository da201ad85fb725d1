"""Assesses readiness: whether a reading published now would be stored and judged, and why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ingest_service.storage import process_words as words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ingest_service.storage.process_words import Sentence
    from ingest_service.storage.processes import Process

EVERY_AREA = "+"


class Verdict(msgspec.Struct, frozen=True):
    """Result of the assessment; unless ``ok``, ``problems`` has a message for each reason."""

    ok: bool
    problems: list[Sentence]


def verdict(
    processes: Sequence[Process], areas: Iterable[str], *, writable: bool = True, names: bool = True
) -> Verdict:
    """Assess whether a reading of any of these areas would be stored and judged.

    Each area needs an ingest process that owns a shard with it and works: it is connected and subscribed,
    commits or could, is not behind, and judges. If no device is enrolled, one such process must exist.

    Parameters
    ----------
    areas : areas with enrolled devices
    names : whether messages may name areas
    writable : whether the database accepted the last heartbeat of the calling process

    """
    if not writable:
        return Verdict(ok=False, problems=[words.NOT_WRITABLE])
    ingest = [one for one in processes if one.kind == "ingest"]
    working = [one for one in ingest if one.works and one.role == "owner"]
    taken = {area for one in working for area in one.areas}
    missing = [] if EVERY_AREA in taken else sorted(set(areas) - taken)
    if working and not missing:
        return Verdict(ok=True, problems=[])
    problems = [words.sentence(one) for one in ingest if not one.works and _takes(one, missing)]
    if not problems:
        problems = [words.no_shard(missing if names else []) if working else words.NO_OWNER]
    return Verdict(ok=False, problems=problems)


def _takes(process: Process, areas: list[str]) -> bool:
    """Whether a process could ingest one of some areas; one that never reported its areas could any."""
    return (
        not areas or not process.areas or EVERY_AREA in process.areas or bool(set(areas) & set(process.areas))
    )
