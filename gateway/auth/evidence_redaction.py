"""Redacts sites, series, devices and nodes of other areas from the evidence and reason of anomalies.

The judge compares a site with its neighbours along the network, also across area borders. Its evidence names
them for principals that may see both areas; reasons written before migration 0028 may name them as well.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from analytics.quality.cause_text import OTHER_AREA_EN, OTHER_AREA_ZH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.api.directory_cache import DirectoryIndex
    from ingest_service.storage.contract.models import Anomaly
    from ingest_service.storage.postgres.query_api import AnomalyRow

T = TypeVar("T", bound=msgspec.Struct)

# Keys of evidence whose values identify enrolled objects.
ID_KEYS = ("site_id", "series_id", "device_id", "node_id")
ID_KEY_PATTERN = re.compile("|".join(f'"{name}"' for name in ID_KEYS))
CONTAINERS = (dict, list)
KEPT_KEYS = ("way",)  # "upstream" or "downstream": all that is kept of a neighbour's entry
# The sentence on a neighbour that `analytics.quality.cause_text` appends to a reason.
NEIGHBOUR_PATTERN_EN = re.compile(
    r"; (?:it passed|it reaches) .+ about [\d.]+ h (?:before|later)|; [^;]+ shows it, too"
)
NEIGHBOUR_PATTERN_ZH = re.compile("；约[0-9.]+小时(?:前经过|后到达)[^；]+|；[^；]+同时出现")


def redact_anomaly(one: Anomaly, directory_index: DirectoryIndex) -> Anomaly:
    """Redact an anomaly for a restricted directory; return the same object where nothing is redacted."""
    evidence = _redact_evidence(one.evidence, directory_index)
    return (
        one if evidence is one.evidence else _redact_reason(msgspec.structs.replace(one, evidence=evidence))
    )


def redact_rows(rows: Sequence[AnomalyRow], directory_index: DirectoryIndex) -> Sequence[AnomalyRow]:
    """Redact rows of a query, whose evidence is JSON text."""
    return rows if directory_index.is_unrestricted else [_redact_row(one, directory_index) for one in rows]


def _redact_row(one: AnomalyRow, directory_index: DirectoryIndex) -> AnomalyRow:
    if not ID_KEY_PATTERN.search(one.evidence):
        return one
    evidence = msgspec.json.decode(one.evidence)
    redacted = _redact_evidence(evidence, directory_index)
    if redacted is evidence:
        return one
    return _redact_reason(msgspec.structs.replace(one, evidence=msgspec.json.encode(redacted).decode()))


def _redact_evidence(value: Any, directory_index: DirectoryIndex) -> Any:
    """Replace entries that identify objects outside the directory; the same object where none does."""
    if directory_index.is_unrestricted:
        return value
    if isinstance(value, dict):
        if not value.keys().isdisjoint(ID_KEYS) and any(
            not _is_visible(name, value[name], directory_index)
            for name in ID_KEYS
            if value.get(name) is not None
        ):
            return {"en": OTHER_AREA_EN, "zh": OTHER_AREA_ZH} | {
                name: value[name] for name in KEPT_KEYS if name in value
            }
        redacted_entries = {
            name: redacted
            for name, one in value.items()
            # most values are numbers and texts: a call for each would take most of the time
            if isinstance(one, CONTAINERS) and (redacted := _redact_evidence(one, directory_index)) is not one
        }
        return value | redacted_entries if redacted_entries else value
    if isinstance(value, list):
        redacted_items = [
            _redact_evidence(one, directory_index) if isinstance(one, CONTAINERS) else one for one in value
        ]
        return (
            redacted_items
            if any(new is not old for new, old in zip(redacted_items, value, strict=True))
            else value
        )
    return value


def _is_visible(name: str, value: Any, directory_index: DirectoryIndex) -> bool:
    visible_ids: Any = {
        "site_id": directory_index.sites,
        "series_id": directory_index.series,
        "device_id": directory_index.devices,
        "node_id": directory_index.nodes,
    }[name]
    return isinstance(value, str | int) and value in visible_ids


def _redact_reason(one: T) -> T:
    """Replace the neighbour in both reasons of an anomaly by "another area"."""
    english, chinese = getattr(one, "reason_en"), getattr(one, "reason_zh")  # noqa: B009 - of either struct
    changed: dict[str, Any] = {
        "reason_en": english
        if OTHER_AREA_EN in english
        else NEIGHBOUR_PATTERN_EN.sub(f"; {OTHER_AREA_EN} shows it, too", english),
        "reason_zh": chinese
        if OTHER_AREA_ZH in chinese
        else NEIGHBOUR_PATTERN_ZH.sub(f"；{OTHER_AREA_ZH}亦有此现象", chinese),
    }
    return msgspec.structs.replace(one, **changed)
