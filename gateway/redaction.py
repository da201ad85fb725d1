"""Removes from anomalies what concerns areas that the principal may not see.

The judge compares a site with its neighbours along the network, also across a border. Its evidence names
them, for whoever may see both sides; a reason that was written before migration 0028 may name them as well.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from analytics.service.cause_words import ELSEWHERE_EN, ELSEWHERE_ZH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.known import Known
    from ingest_service.storage.answers import Found
    from ingest_service.storage.model import Anomaly

T = TypeVar("T", bound=msgspec.Struct)

NAMING = ("site_id", "series_id", "device_id", "node_id")  # keys of evidence that name something enrolled
NAMED = re.compile("|".join(f'"{name}"' for name in NAMING))
KEPT = ("way",)  # upstream or downstream: of what a neighbour showed, nothing but that
# How `analytics.service.cause_words` names a neighbour, at the end of a reason.
OLD_EN = re.compile(r"; (?:it passed|it reaches) .+ about [\d.]+ h (?:before|later)|; [^;]+ shows it, too")
OLD_ZH = re.compile("；约[0-9.]+小时(?:前经过|后到达)[^；]+|；[^；]+同时出现")


def of_anomaly(one: Anomaly, known: Known) -> Anomaly:
    """A stored anomaly as a reader may see it; itself where there is nothing to leave out."""
    evidence = _seen(one.evidence, known)
    return (
        one if evidence is one.evidence else _without_names(msgspec.structs.replace(one, evidence=evidence))
    )


def of_found(found: Sequence[Found], known: Known) -> Sequence[Found]:
    """The same of anomalies of a query, whose evidence is JSON."""
    return found if known.is_whole else [_of_one_found(one, known) for one in found]


def _of_one_found(one: Found, known: Known) -> Found:
    if not NAMED.search(one.evidence):
        return one
    evidence = msgspec.json.decode(one.evidence)
    seen = _seen(evidence, known)
    if seen is evidence:
        return one
    return _without_names(msgspec.structs.replace(one, evidence=msgspec.json.encode(seen).decode()))


def _seen(value: Any, known: Known) -> Any:
    """Evidence without the entries that name what is not in the directory; itself where none does."""
    if known.is_whole:
        return value
    if isinstance(value, dict):
        if any(not _is_seen(name, value[name], known) for name in NAMING if value.get(name) is not None):
            return {"en": ELSEWHERE_EN, "zh": ELSEWHERE_ZH} | {
                name: value[name] for name in KEPT if name in value
            }
        made = {name: _seen(one, known) for name, one in value.items()}
        return made if any(made[name] is not value[name] for name in value) else value
    if isinstance(value, list):
        several = [_seen(one, known) for one in value]
        return several if any(new is not old for new, old in zip(several, value, strict=True)) else value
    return value


def _is_seen(name: str, value: Any, known: Known) -> bool:
    there: Any = {
        "site_id": known.sites,
        "series_id": known.series,
        "device_id": known.devices,
        "node_id": known.nodes,
    }[name]
    return isinstance(value, str | int) and value in there


def _without_names(one: T) -> T:
    """An anomaly whose reason names no neighbour."""
    english, chinese = getattr(one, "reason_en"), getattr(one, "reason_zh")  # noqa: B009 - of either struct
    changed: dict[str, Any] = {
        "reason_en": english
        if ELSEWHERE_EN in english
        else OLD_EN.sub(f"; {ELSEWHERE_EN} shows it, too", english),
        "reason_zh": chinese
        if ELSEWHERE_ZH in chinese
        else OLD_ZH.sub(f"；{ELSEWHERE_ZH}亦有此现象", chinese),
    }
    return msgspec.structs.replace(one, **changed)
