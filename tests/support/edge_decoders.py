"""Decoders of the edge for bytes that others send, each with a strategy of structured payloads for it.

Each decoder returns data or raises an error of the edge, whatever the bytes. The tests feed it trees of the
right shape with wrong content; the benchmark ``fuzz`` feeds it bytes that are guided by coverage.
"""

from __future__ import annotations

import json
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import cbor2
import msgspec
from hypothesis import strategies as st

from edge.drivers import exec_driver, influx_lines
from edge.drivers.modbus_bus import ModbusBus
from edge.drivers.payload_mapping import PayloadMapping, map_payload
from edge.drivers.register_map import load_map
from edge.drivers.sparkplug_host import SparkplugHost, is_offline_state
from edge.drivers.sparkplug_payload import encode_rebirth_request
from edge.wire import receipts, senml, status
from tests.support import malformed_messages

if TYPE_CHECKING:
    from collections.abc import Callable

NOW_S = malformed_messages.NOW_S
MAPPINGS: dict[str, dict[str, Any]] = {
    "json": {"time_path": "ts", "time_format": "ms", "values": [{"channel": "ph", "path": "probes.0.pH"}]},
    "chirpstack": {"format": "chirpstack", "values": [{"channel": "ph", "path": "pH", "unit": "pH"}]},
    "tasmota": {"format": "tasmota", "values": [{"channel": "ph", "path": "probes.pH", "scale": 1e300}]},
    "influx": {"format": "influx", "values": [{"channel": "ph", "path": "river.pH", "total": True}]},
}
KEYS = (
    "ts",
    "probes",
    "pH",
    "object",
    "time",
    "Time",
    "online",
    "agent",
    "time_s",
    "epoch",
    "kept",
    "refused",
)


class EdgeDecoder(NamedTuple):
    """A decoder, and payloads for it."""

    decode: Callable[[bytes], object]
    payloads: st.SearchStrategy[bytes]


def _mapped(name: str) -> Callable[[bytes], object]:
    mapping = msgspec.convert(MAPPINGS[name], PayloadMapping)
    return lambda payload: map_payload(payload, mapping, now_s=NOW_S)


def _senml(content_type: str | None) -> Callable[[bytes], object]:
    return lambda payload: senml.decode(payload, content_type=content_type, now_s=NOW_S)


def _sparkplug(payload: bytes) -> object:
    """All kinds of messages of one node; the first byte is the order in which they come."""
    host = SparkplugHost(reorder_s=1.0)
    kinds = ["NBIRTH", "DBIRTH", "DDATA", "NDATA", "NDEATH", "DDEATH"]
    first = payload[0] % len(kinds) if payload else 0
    outcomes = []
    for at, kind in enumerate(kinds[first:] + kinds[:first]):
        device = "/d" if kind.startswith("D") else ""
        outcomes.append(host.take(f"spBv1.0/g/{kind}/n{device}", payload[1:], float(at)))
    outcomes.append(host.due(100.0))
    return outcomes


SONDE = load_map("ysi_exo")


def modbus_answer(answer: bytes) -> object:
    """Read the registers of a sonde over a line on which these bytes come as the answer."""
    bus = ModbusBus("tcp://127.0.0.1:1", timeout_s=0.001)
    registers = SONDE.registers[:2]
    instrument, line = socket.socketpair()
    with instrument, line:
        instrument.sendall(answer)
        instrument.shutdown(socket.SHUT_WR)
        bus._client.socket = line
        words = bus.read(1, 3, 391, 4)
    return [SONDE.decode(one, words[2 * at : 2 * at + 2]) for at, one in enumerate(registers)]


json_trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(KEYS),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(), inner, max_size=5)
    ),
    max_leaves=20,
)
json_payloads = json_trees.map(lambda tree: json.dumps(tree).encode("utf-8", "surrogatepass"))


def _cbor(tree: object) -> bytes:
    with suppress(cbor2.CBORError, ValueError, OverflowError, RecursionError):
        return cbor2.dumps(tree)
    return b""


def _senml_rows(tree: object) -> list[object]:
    return tree if isinstance(tree, list) else [tree]


influx_texts = st.lists(
    st.text(st.sampled_from('river,pH= "\\\n#1.ie-+u\u00b2\u0661')) | st.just("river pH="), max_size=8
).map(lambda parts: "".join(parts).encode())


def _protobuf_field(number: int, kind: int, content: bytes) -> bytes:
    length = bytes([len(content)]) if kind == 2 else b""
    return bytes([number << 3 & 0x7F | kind]) + length + content


protobuf_fields = st.recursive(
    st.binary(max_size=9),
    lambda inner: st.lists(
        st.builds(_protobuf_field, st.integers(0, 15), st.sampled_from([0, 1, 2, 2, 2, 5, 3]), inner),
        max_size=4,
    ).map(lambda fields: b"".join(fields)[:120]),
    max_leaves=12,
)
modbus_frames = st.builds(
    lambda transaction, length, device, function, count, data: (
        struct.pack(">HHHBBB", transaction, 0, length or len(data) + 3, device, function, count) + data
    ),
    st.sampled_from([1, 1, 1, 0, 2]),
    st.sampled_from([0, 0, 0, 1, 3, 11, 65_535]),
    st.sampled_from([1, 1, 0, 255]),
    st.sampled_from([3, 3, 3, 4, 0x83, 0x80, 255]),
    st.sampled_from([8, 8, 0, 7, 255]),
    st.binary(max_size=12) | st.binary(min_size=8, max_size=8),
)

EDGE_DECODERS: dict[str, EdgeDecoder] = {
    "senml-json": EdgeDecoder(
        _senml(senml.CONTENT_TYPE_JSON),
        malformed_messages.messages.map(lambda message: message.payload) | json_payloads,
    ),
    "senml-cbor": EdgeDecoder(
        _senml(senml.CONTENT_TYPE_CBOR), malformed_messages.trees.map(_senml_rows).map(_cbor)
    ),
    "senml": EdgeDecoder(_senml(None), malformed_messages.messages.map(lambda message: message.payload)),
    "status": EdgeDecoder(status.decode_status, json_payloads),
    "receipt": EdgeDecoder(receipts.decode_receipt, json_payloads),
    "chirpstack": EdgeDecoder(_mapped("chirpstack"), json_payloads),
    "tasmota": EdgeDecoder(_mapped("tasmota"), json_payloads),
    "json": EdgeDecoder(_mapped("json"), json_payloads),
    "influx": EdgeDecoder(_mapped("influx"), influx_texts),
    "influx-lines": EdgeDecoder(
        lambda payload: influx_lines.parse_lines(payload.decode("utf-8", "replace")), influx_texts
    ),
    "sparkplug": EdgeDecoder(
        _sparkplug, protobuf_fields | st.binary(max_size=4).map(lambda end: encode_rebirth_request(7) + end)
    ),
    "sparkplug-state": EdgeDecoder(is_offline_state, json_payloads),
    "modbus": EdgeDecoder(modbus_answer, modbus_frames),
    "exec": EdgeDecoder(
        lambda payload: exec_driver.parse_output(payload, NOW_S), json_payloads | influx_texts
    ),
}
