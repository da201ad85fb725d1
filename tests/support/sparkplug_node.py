"""A Sparkplug B edge node for tests; its payloads are encoded by Google's protobuf library.

The messages are described here field by field, from the specification's schema (chapter 6.4.1), so that the
reader of the driver is tested against another implementation of the wire format.
"""

from __future__ import annotations

import json
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from edge.drivers.sparkplug_payload import REBIRTH

PACKAGE = "org.eclipse.tahu.protobuf"
OPTIONAL, REPEATED = 1, 3
UINT32, UINT64, BOOL, STRING, BYTES, FLOAT, DOUBLE, MESSAGE = 13, 4, 8, 9, 12, 2, 1, 11
INT32, INT64, FLOAT32, FLOAT64, BOOLEAN, TEXT = 3, 4, 9, 10, 11, 12  # data types of the specification
VALUE_FIELDS = {
    **dict.fromkeys((1, 2, 3, 5, 6), "int_value"), 7: "long_value", 4: "long_value", 8: "long_value",
    FLOAT32: "float_value", FLOAT64: "double_value", BOOLEAN: "boolean_value", TEXT: "string_value",
}  # fmt: skip
SCHEMA: dict[str, list[tuple[str, int, int, int, str]]] = {
    "PropertyValue": [
        ("type", 1, OPTIONAL, UINT32, ""), ("is_null", 2, OPTIONAL, BOOL, ""),
        ("int_value", 3, OPTIONAL, UINT32, ""), ("long_value", 4, OPTIONAL, UINT64, ""),
        ("string_value", 8, OPTIONAL, STRING, ""),
    ],
    "PropertySet": [
        ("keys", 1, REPEATED, STRING, ""), ("values", 2, REPEATED, MESSAGE, "PropertyValue"),
    ],
    "Metric": [
        ("name", 1, OPTIONAL, STRING, ""), ("alias", 2, OPTIONAL, UINT64, ""),
        ("timestamp", 3, OPTIONAL, UINT64, ""), ("datatype", 4, OPTIONAL, UINT32, ""),
        ("is_historical", 5, OPTIONAL, BOOL, ""), ("is_transient", 6, OPTIONAL, BOOL, ""),
        ("is_null", 7, OPTIONAL, BOOL, ""), ("properties", 9, OPTIONAL, MESSAGE, "PropertySet"),
        ("int_value", 10, OPTIONAL, UINT32, ""), ("long_value", 11, OPTIONAL, UINT64, ""),
        ("float_value", 12, OPTIONAL, FLOAT, ""), ("double_value", 13, OPTIONAL, DOUBLE, ""),
        ("boolean_value", 14, OPTIONAL, BOOL, ""), ("string_value", 15, OPTIONAL, STRING, ""),
        ("bytes_value", 16, OPTIONAL, BYTES, ""),
    ],
    "Payload": [
        ("timestamp", 1, OPTIONAL, UINT64, ""), ("metrics", 2, REPEATED, MESSAGE, "Metric"),
        ("seq", 3, OPTIONAL, UINT64, ""), ("uuid", 4, OPTIONAL, STRING, ""), ("body", 5, OPTIONAL, BYTES, ""),
    ],
}  # fmt: skip


def _message_class(name: str) -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug_b.proto", package=PACKAGE, syntax="proto2")
    for message_name, fields in SCHEMA.items():
        message = file.message_type.add(name=message_name)
        for field, number, label, kind, type_name in fields:
            message.field.add(
                name=field, number=number, label=label, type=kind,
                **({"type_name": f".{PACKAGE}.{type_name}"} if type_name else {}),
            )  # fmt: skip
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))


Payload = _message_class("Payload")


def metric(
    value: Any,
    datatype: int = FLOAT64,
    name: str | None = None,
    alias: int | None = None,
    time_ms: int | None = None,
    *,
    send_type: bool = True,
    quality: int | None = None,
    **others: bool,
) -> dict[str, Any]:
    """Return the fields of a metric; signed integers become two's complement."""
    fields: dict[str, Any] = {"name": name, "alias": alias, "timestamp": time_ms, **others}
    if send_type:
        fields["datatype"] = datatype
    if value is None:
        fields["is_null"] = True
    else:
        field = VALUE_FIELDS[datatype]
        bits = {"int_value": 32, "long_value": 64}.get(field)
        fields[field] = value % 2**bits if bits and isinstance(value, int) else value
    if quality is not None:
        fields["properties"] = {"keys": ["Quality"], "values": [{"type": 3, "int_value": quality}]}
    return {key: one for key, one in fields.items() if one is not None}


def payload(*metrics: dict[str, Any], seq: int | None = None, time_ms: int | None = None) -> bytes:
    """Encode a payload."""
    head = {key: one for key, one in {"seq": seq, "timestamp": time_ms}.items() if one is not None}
    encoded: bytes = Payload(metrics=list(metrics), **head).SerializeToString()
    return encoded


class EdgeNode:
    """Builds the messages of one edge node: topics and payloads, with bdSeq, seq and aliases."""

    def __init__(self, name: str = "plant/pump-house", device: str = "sonde") -> None:
        self.group, self.node = name.split("/")
        self.device = device
        self.bd_seq = 0
        self.seq = 0

    def topic(self, kind: str) -> str:
        """Return the topic of a kind of message."""
        device = f"/{self.device}" if kind.startswith("D") else ""
        return f"spBv1.0/{self.group}/{kind}/{self.node}{device}"

    def nbirth(self, *metrics: dict[str, Any], seq: int = 0) -> tuple[str, bytes]:
        """Build an NBIRTH, which begins the sequence."""
        self.seq = seq
        own = [
            metric(self.bd_seq, INT64, "bdSeq"),
            metric(value=False, datatype=BOOLEAN, name=REBIRTH),
        ]
        return self.topic("NBIRTH"), payload(*own, *metrics, seq=seq, time_ms=1_790_000_000_000)

    def ndeath(self, bd_seq: int | None = None) -> tuple[str, bytes]:
        """Build an NDEATH, by default of this session."""
        return self.topic("NDEATH"), payload(
            metric(self.bd_seq if bd_seq is None else bd_seq, INT64, "bdSeq")
        )

    def message(self, kind: str, *metrics: dict[str, Any]) -> tuple[str, bytes]:
        """Build the next message of the sequence: DBIRTH, DDATA, NDATA or DDEATH."""
        self.seq = (self.seq + 1) % 256
        return self.topic(kind), payload(*metrics, seq=self.seq, time_ms=1_790_000_000_000 + self.seq)


def state(content: bytes) -> dict[str, Any]:
    """Decode a STATE message."""
    decoded: dict[str, Any] = json.loads(content)
    return decoded
