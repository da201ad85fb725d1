"""Tests that decoding by columns equals decoding record by record, for any mixture of messages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cbor2
import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edge.wire import receipts, senml_cbor_columns, senml_columns
from edge.wire.senml import CONTENT_TYPE_CBOR, CONTENT_TYPE_JSON
from edge.wire.senml_raw import CBOR_NUMBERS
from ingest_service.pipeline import irregular_records
from ingest_service.pipeline.decode import decode
from ingest_service.pipeline.device_clocks import DeviceClocks
from ingest_service.pipeline.irregular_records import DecodeContext
from ingest_service.pipeline.message import Message
from ingest_service.pipeline.series_resolver import SeriesResolver
from tests.support import malformed_messages
from tests.support.malformed_messages import DATA, DIRECTORY, NOW_S

if TYPE_CHECKING:
    from collections.abc import Sequence

names = st.sampled_from(["ph", "do", "ec", "p", "h", "", "d", "x", "}", "µ"])
units = st.sampled_from(["pH", "mg/L", "kg/m3", "S/m", "μS/cm", "}"])
values = st.one_of(
    st.floats(0, 14), st.floats(), st.integers(-20, 20), st.sampled_from([2**63, 2**64, -(2**70), True, "7"])
)
times = st.one_of(
    st.floats(NOW_S - 1e4, NOW_S), st.integers(-100, 100), st.sampled_from([0.0, -0.0, NOW_S * 1e3])
)
records = st.fixed_dictionaries(
    {"v": values},
    optional={"n": names, "bn": names, "u": units, "bu": units, "t": times, "bt": times},
)
ordinary = st.fixed_dictionaries(
    {"bn": st.sampled_from(["ph", "do"]), "bt": st.floats(NOW_S - 1e4, NOW_S), "v": st.floats(0, 14)}
)
packs = st.one_of(st.tuples(ordinary), st.lists(st.one_of(ordinary, records), max_size=3))
# Fragments that make one value of two payloads, or two values of one, where the payloads are joined.
fragments = st.lists(
    st.sampled_from(
        [
            b'[{"v":1}]',
            b'[{"n":"ph","v":7}]',
            b"[",
            b"]",
            b'[{"n":"}]',
            b'","v":1}]',
            b"\n",
            b" ",
            b"{",
            b"}]",
        ]
    ),
    max_size=4,
).map(b"".join)


def as_cbor(pack: Sequence[dict[str, object]]) -> bytes:
    return cbor2.dumps([{CBOR_NUMBERS[label]: one for label, one in row.items()} for row in pack])


def of(payloads: st.SearchStrategy[bytes], *content_types: str | None) -> st.SearchStrategy[Message]:
    return st.builds(
        Message,
        st.just(DATA),
        payloads,
        st.just(NOW_S),
        st.sampled_from(content_types),
        st.sampled_from([(), (), (("epoch", "e"), ("number", "1")), ((receipts.REJECTION_PROPERTY, "no"),)]),
    )


messages = st.one_of(
    of(packs.map(lambda pack: json.dumps(pack, separators=(",", ":")).encode()), None, CONTENT_TYPE_JSON),
    of(packs.map(as_cbor), None, CONTENT_TYPE_CBOR),
    of(fragments, None),
    malformed_messages.messages.filter(lambda one: one.topic == DATA),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(messages, max_size=12))
@example([Message(DATA, one, NOW_S) for one in (b'[{"v":1}][{"v":2}]', b'[{"n":"}]', b'[{","v":1}]')])
def test_columns_equal_records(batch: list[Message]) -> None:
    clocks = DeviceClocks(tolerance_s=300)
    out = decode(batch, SeriesResolver(DIRECTORY), clocks, future_s=300)
    resolver = SeriesResolver(DIRECTORY)
    letters: list[object] = []
    held = [
        index
        for index, one in enumerate(batch)
        if one.payload or receipts.position_of(one.properties) is not None
    ]
    rows = irregular_records.decode_irregular(
        batch,
        held,
        DecodeContext(resolver, clocks, 300),
        letters,  # type: ignore[arg-type]
    )
    assert out.dead_letters == letters
    assert out.message.tolist() == rows.message.tolist()
    assert out.series_id.tolist() == resolver.series_id[rows.code].tolist()
    np.testing.assert_array_equal(out.time_s, rows.time_s)


def test_payloads_joined_in_chunks_are_one_record_each() -> None:
    """The neighbours of a payload of another kind are decoded; only few are left to the other decoder."""
    good = b'[{"n":"ph","v":%d}]'
    payloads = [good % number for number in range(700)]
    payloads[300] = b'[{"n":"ph","v":1}][{"n":"ph","v":2}]'
    found = senml_columns.decode_single_records(payloads)
    assert 700 - senml_columns.MIN_CHUNK <= len(found.position) < 700
    assert 300 not in found.position
    assert found.values == [float(at) for at in found.position]


def test_a_template_of_a_payload_is_used_for_other_numbers_only() -> None:
    """Bytes that look like a double in an integer must not become one."""
    first = cbor2.dumps([{0: "ph", 2: 7.5, 6: NOW_S}])
    tricky = cbor2.dumps([{0: "ph", 2: 0xFB_0102_0304_0506, 6: 1.0}])
    for _ in range(2):
        assert senml_cbor_columns.decode(first) == ([("ph", None)], [7.5], [NOW_S], 0.0)
        found = senml_cbor_columns.decode(tricky)
        assert found == ([("ph", None)], [float(0xFB_0102_0304_0506)], [1.0], 0.0)
    other = cbor2.dumps([{0: "ph", 2: -1e300, 6: 0.25}])
    assert senml_cbor_columns.decode(other) == ([("ph", None)], [-1e300], [0.25], 0.0)
    assert senml_cbor_columns.decode(other[:-1]) is None
    assert senml_cbor_columns.decode(other + b"\0") is None
