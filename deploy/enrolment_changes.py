"""Lists what an enrolment would add and change, before anything is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

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


class ChangedEntry(NamedTuple):
    """An entry that would be added or changed.

    Attributes
    ----------
    action : adds or changes
    kind : area, site, device, series, channel, node or link
    name : key of the entry
    fields : old and new value of each field that would change, as Python writes it

    """

    action: Literal["adds", "changes"]
    kind: str
    name: str
    fields: dict[str, tuple[str, str]]


def enrolment_differences(enrolled: Directory, desired: Directory) -> list[str]:
    """Return a sentence for each entry that would be added or changed, with the fields that would change.

    >>> from ingest_service.storage.contract.models import Device, Directory
    >>> enrolment_differences(
    ...     Directory(devices=[Device(device_id="d", area_id="a")]),
    ...     Directory(devices=[Device(device_id="d", area_id="b"), Device(device_id="e", area_id="b")]),
    ... )
    ["changes device d: area_id 'a' -> 'b'", 'adds device e']
    """
    sentences = []
    for one in changed_entries(enrolled, desired):
        fields = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in one.fields.items())
        sentences.append(f"{one.action} {one.kind} {one.name}" + (f": {fields}" if fields else ""))
    return sentences


def changed_entries(enrolled: Directory, desired: Directory) -> list[ChangedEntry]:
    """Return each entry that would be added or changed, with the fields that would change."""
    return [one for kind in KEY_FIELDS for one in _changed_of_kind(kind, enrolled, desired)]


def summarise_changes(sentences: list[str]) -> list[str]:
    """Return all changes and the first ``MAX_SHOWN_ADDITIONS`` additions, with a count of the rest."""
    changes = [one for one in sentences if one.startswith("changes")]
    added = [one for one in sentences if not one.startswith("changes")]
    more = [f"adds {len(added) - MAX_SHOWN_ADDITIONS} more"] if len(added) > MAX_SHOWN_ADDITIONS else []
    return changes + added[:MAX_SHOWN_ADDITIONS] + more


def _changed_of_kind(kind: str, enrolled: Directory, desired: Directory) -> Iterator[ChangedEntry]:
    singular = SINGULAR.get(kind, kind[:-1])
    enrolled_by_key = {_key(kind, one): one for one in getattr(enrolled, kind)}
    for one in getattr(desired, kind):
        key = _key(kind, one)
        old = enrolled_by_key.get(key)
        if old is None:
            yield ChangedEntry("adds", singular, " / ".join(key), {})
            continue
        changed = {
            name: (repr(getattr(old, name)), repr(getattr(one, name)))
            for name in one.__struct_fields__
            if name not in GIVEN_BY_STORE and getattr(old, name) != getattr(one, name)
        }
        if changed:
            yield ChangedEntry("changes", singular, " / ".join(key), changed)


def _key(kind: str, one: msgspec.Struct) -> tuple[Any, ...]:
    return tuple(getattr(one, name) for name in KEY_FIELDS[kind])
