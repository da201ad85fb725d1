"""Takes a forwarded message apart into its items, as they were sent, and makes a message of some of them.

An item is an element of a list of the message, such as an anomaly; of columns, it is one row. What a dead
letter of some items has is what was sent, with fields that this release does not know.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any, Final, NamedTuple, get_args, get_origin

import msgspec
from msgspec import Raw

from edge.wire import federation
from edge.wire.errors import PayloadError

COLUMN_TYPES: Final = (federation.ReadingColumns, federation.RollupColumns, federation.ForwardedEstimates)
WHOLE: Final = ""
"""In place of the list that an item is in: the message itself has columns."""
LABELS: Final = (
    *("area_id", "site_id", "device_id", "node_id", "link_id", "anomaly_id", "incident_id", "command_id"),
    *("quantity", "subject", "time_us", "bucket_us"),
)
MAX_LABEL_CHARACTERS: Final = 80


class MessageItem(NamedTuple):
    """An item: the list that it is in, its number there, and its row of columns or None.

    ``content`` is the element, or the fields beside the columns; ``cells`` are the values of the row.
    """

    field: str
    number: int
    row: int | None
    content: Any
    cells: dict[str, Raw]

    def label(self) -> str:
        """Return by which fields the item can be found, as JSON; empty if it has none."""
        try:
            fields = {**_object(self.content), **self.cells}
        except msgspec.MsgspecError:
            return ""
        found = [f"{name} {bytes(fields[name]).decode()}" for name in LABELS if name in fields]
        return ", ".join(found)[:MAX_LABEL_CHARACTERS]

    def incident_id(self) -> int | None:
        """Return the number of an incident, to which others may refer; None of others, or if it has none."""
        try:
            return msgspec.json.decode(_object(self.content)["incident_id"], type=int)
        except (msgspec.MsgspecError, KeyError):
            return None


class MessageItems:
    """The items of a message. Raises `PayloadError` if it is none of a known kind.

    Attributes
    ----------
    items : in the order in which they were sent

    """

    def __init__(self, payload: bytes) -> None:
        try:
            self._header = _object(Raw(payload))
            self._type = _TYPES[msgspec.json.decode(self._header["kind"], type=str)]
            self.items = self._taken_apart()
        except (msgspec.MsgspecError, RecursionError, KeyError) as error:
            raise PayloadError(f"it is no message of a platform that forwards: {error}") from error

    def message_of(self, items: list[MessageItem]) -> bytes:
        """Return a message with some of the items, in their order."""
        message: dict[str, Any] = dict(self._header)
        if self._type in COLUMN_TYPES:
            message |= {name: [one.cells[name] for one in items] for name in _columns_of(self._type)}
            return msgspec.json.encode(message | _joined_rows(items) if items else message)
        elements = self.elements(items)
        for field in _item_types(self._type).keys() & self._header.keys():
            message[field] = [
                found[0].content if found[0].row is None else _joined_rows(found)
                for (one, _), found in elements.items()
                if one == field
            ]
        return msgspec.json.encode(message)

    def elements(self, items: list[MessageItem]) -> dict[tuple[str, int], list[MessageItem]]:
        """Return the items of each element of `message_of` the same items, by its list and number there."""
        sent: dict[tuple[str, int], list[MessageItem]] = {}
        for one in items:
            sent.setdefault((one.field, one.number), []).append(one)
        n_found: Counter[str] = Counter()
        found = {}
        for (field, _), element in sent.items():
            found[field, n_found[field]] = element
            n_found[field] += 1
        return found

    def _taken_apart(self) -> list[MessageItem]:
        if self._type in COLUMN_TYPES:
            return _rows(WHOLE, 0, self._header, self._type)
        found: list[MessageItem] = []
        for field, kind in _item_types(self._type).items():
            elements = msgspec.json.decode(self._header.get(field, b"[]"), type=list[Raw])
            for number, element in enumerate(elements):
                has_columns = kind in COLUMN_TYPES and bytes(element).lstrip()[:1] == b"{"
                rows = _rows(field, number, _object(element), kind) if has_columns else []
                found += rows or [MessageItem(field, number, None, element, {})]
        return found


def _rows(field: str, number: int, content: dict[str, Raw], kind: Any) -> list[MessageItem]:
    """Return the rows of columns; none if its columns are no lists of one length."""
    lists = {
        name: msgspec.json.decode(value, type=list[Raw])
        for name, value in content.items()
        if bytes(value).lstrip()[:1] == b"["
    }
    lengths = {len(lists[name]) if name in lists else -1 for name in _columns_of(kind)}
    if len(lengths) != 1 or -1 in lengths:
        return []
    (length,) = lengths
    columns = {name: values for name, values in lists.items() if len(values) == length}
    rest = {name: value for name, value in content.items() if name not in columns}
    return [
        MessageItem(field, number, row, rest, {name: values[row] for name, values in columns.items()})
        for row in range(length)
    ]


def _joined_rows(items: list[MessageItem]) -> dict[str, Any]:
    return {**items[0].content, **{name: [one.cells[name] for one in items] for name in items[0].cells}}


def _object(content: Any) -> dict[str, Raw]:
    return content if isinstance(content, dict) else msgspec.json.decode(content, type=dict[str, Raw])


@cache
def _item_types(message: Any) -> dict[str, Any]:
    """Return the lists of items that a message has, with the type of their items."""
    lists = {
        one.name: get_args(one.type)[0]
        for one in msgspec.structs.fields(message)
        if get_origin(one.type) is list
    }
    return {
        name: kind
        for name, kind in lists.items()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    }


@cache
def _columns_of(kind: Any) -> list[str]:
    return [one.name for one in msgspec.structs.fields(kind) if get_origin(one.type) is list]


_TYPES: Final = {str(one.__struct_config__.tag): one for one in get_args(federation.AnyMessage)}
