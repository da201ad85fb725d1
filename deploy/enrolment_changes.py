"""Lists what an enrolment would add and change, before anything is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import msgspec

    from ingest_service.storage.contract.models import Directory

KEY_FIELDS = {
    "areas": ("area_id",),
    "sites": ("site_id",),
    "devices": ("device_id",),
    "series": ("site_id", "quantity"),
    "channels": ("device_id", "name"),
    "nodes": ("node_id",),
    "links": ("link_id",),
}
SINGULAR = {"series": "series"}
GIVEN_BY_STORE = {"series_id", "adopted", "score_shift", "valid_from_s"}
MAX_SHOWN_ADDITIONS = 20


def enrolment_differences(enrolled: Directory, desired: Directory) -> list[str]:
    """Return a sentence for each entry that would be added or changed, with the fields that would change.

    >>> from ingest_service.storage.contract.models import Device, Directory
    >>> enrolment_differences(
    ...     Directory(devices=[Device(device_id="d", area_id="a")]),
    ...     Directory(devices=[Device(device_id="d", area_id="b"), Device(device_id="e", area_id="b")]),
    ... )
    ["changes device d: area_id 'a' -> 'b'", 'adds device e']
    """
    return [sentence for kind in KEY_FIELDS for sentence in _differences_of_kind(kind, enrolled, desired)]


def summarise_changes(sentences: list[str]) -> list[str]:
    """Return all changes and the first ``MAX_SHOWN_ADDITIONS`` additions, with a count of the rest."""
    changes = [one for one in sentences if one.startswith("changes")]
    added = [one for one in sentences if not one.startswith("changes")]
    more = [f"adds {len(added) - MAX_SHOWN_ADDITIONS} more"] if len(added) > MAX_SHOWN_ADDITIONS else []
    return changes + added[:MAX_SHOWN_ADDITIONS] + more


def _differences_of_kind(kind: str, enrolled: Directory, desired: Directory) -> Iterator[str]:
    singular = SINGULAR.get(kind, kind[:-1])
    enrolled_by_key = {_key(kind, one): one for one in getattr(enrolled, kind)}
    for one in getattr(desired, kind):
        key = _key(kind, one)
        old = enrolled_by_key.get(key)
        if old is None:
            yield f"adds {singular} {' / '.join(key)}"
            continue
        changed = [
            f"{name} {getattr(old, name)!r} -> {getattr(one, name)!r}"
            for name in one.__struct_fields__
            if name not in GIVEN_BY_STORE and getattr(old, name) != getattr(one, name)
        ]
        if changed:
            yield f"changes {singular} {' / '.join(key)}: {', '.join(changed)}"


def _key(kind: str, one: msgspec.Struct) -> tuple[Any, ...]:
    return tuple(getattr(one, name) for name in KEY_FIELDS[kind])
