"""Tests that SenML packs are resolved as in RFC 8428, and that errors name problem, position and remedy."""

from __future__ import annotations

import json

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.wire import senml
from edge.wire.errors import PayloadError
from edge.wire.senml import Record

NOW_S = 1.8e9


def resolve(*rows: dict[str, object]) -> list[Record]:
    return senml.decode(json.dumps(rows).encode(), content_type=senml.CONTENT_TYPE_JSON, now_s=NOW_S)


def test_base_fields_hold_until_the_next_of_their_kind() -> None:
    records = resolve(
        {"bn": "a:", "bt": 1.7e9, "bu": "Cel", "n": "x", "v": 1},
        {"n": "y", "v": 2, "t": 10},
        {"bn": "b:", "n": "x", "u": "pH", "v": 3},
    )
    assert [(one.name, one.time_s, one.unit, one.value) for one in records] == [
        ("a:x", 1.7e9, "Cel", 1),
        ("a:y", 1.7e9 + 10, "Cel", 2),
        ("b:x", 1.7e9, "pH", 3),
    ]


def test_base_value_and_base_sum_are_added() -> None:
    first, second, third = resolve(
        {"n": "x", "bv": 20, "bs": 100, "v": 1.5, "s": 2}, {"n": "x"}, {"n": "x", "vs": "text"}
    )
    assert (first.value, first.sum_) == (21.5, 102)
    assert (second.value, second.sum_) == (20, 100)
    assert (third.value, third.text) == (None, "text")


@pytest.mark.parametrize(
    ("base", "time", "absolute"),
    [
        (None, None, NOW_S),
        (None, -5, NOW_S - 5),
        (None, 2**28 - 1, NOW_S + 2**28 - 1),
        (None, 2**28, float(2**28)),
        (1.7e9, -5, 1.7e9 - 5),
        (2**28 - 10, 20, 2**28 + 10.0),
    ],
)
def test_small_times_are_relative_to_now(base: float | None, time: float | None, absolute: float) -> None:
    row = {"n": "x", "v": 0} | ({} if base is None else {"bt": base}) | ({} if time is None else {"t": time})
    (record,) = resolve(row)
    assert record.time_s == absolute
    assert record.value == 0


def test_unknown_labels_are_ignored_and_versions_up_to_ours_are_read() -> None:
    (record,) = resolve({"bver": 10, "n": "x", "v": 1, "colour": "blue"})
    assert record.value == 1


BAD: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"[{", "SenML JSON array"),
    "an object": (b'{"n":"x","v":1}', "SenML JSON array"),
    "nothing": (b"", "the message is empty"),
    "an empty pack": (b"[]", "empty"),
    "no name": (b'[{"v":1}]', "no name"),
    "a bad name": (b'[{"n":"a b","v":1}]', "'a b'"),
    "a name with a bad start": (b'[{"n":"_x","v":1}]', "'_x'"),
    "no value": (b'[{"n":"x"},{"n":"y","v":1}]', "record 0"),
    "two values": (b'[{"n":"x","v":1},{"n":"y","v":1,"vs":"a"}]', "record 1"),
    "a string for a number": (b'[{"n":"x","v":"1"}]', "the text '1': send a number"),
    "NaN": (b'[{"n":"x","v":NaN}]', "SenML JSON array"),
    "too large a number": (b'[{"n":"x","v":1e400}]', "'v' is out of range"),
    "must be understood": (b'[{"n":"x","v":1,"new_":2}]', "'new_'"),
    "a newer version": (b'[{"bver":11,"n":"x","v":1}]', "version 11"),
    "bad base64": (b'[{"n":"x","vd":"?"}]', "base64url"),
    "bytes that are not UTF-8": (b'[{"n":"\xff","v":1}]', "SenML JSON array"),
    "deeply nested": (b"[" * 100_000, "SenML JSON array"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_packs_are_refused_with_a_sentence(name: str) -> None:
    payload, says = BAD[name]
    with pytest.raises(PayloadError) as error:
        senml.decode(payload, content_type=None if payload[:1] in (b"[", b"{", b"") else "x", now_s=NOW_S)
    assert says in str(error.value)


GOOD_CBOR = cbor2.dumps([{0: "x", 1: "Cel", 2: 1.5, 6: 1.7e9}])
BAD_CBOR: dict[str, bytes] = {
    "truncated": GOOD_CBOR[:-1],
    "trailing": GOOD_CBOR + b"\x00",
    "a map": cbor2.dumps({0: "x"}),
    "no maps": cbor2.dumps([1]),
    "NaN": cbor2.dumps([{0: "x", 2: float("nan")}]),
    "text for a number": cbor2.dumps([{0: "x", 2: "1"}]),
    "must be understood": cbor2.dumps([{0: "x", 2: 1, "new_": 1}]),
    "a huge length": b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
}


@pytest.mark.parametrize("name", BAD_CBOR)
def test_bad_cbor_is_refused(name: str) -> None:
    with pytest.raises(PayloadError):
        senml.decode(BAD_CBOR[name], content_type=senml.CONTENT_TYPE_CBOR, now_s=NOW_S)


def test_the_first_byte_decides_the_format_without_a_content_type() -> None:
    assert senml.decode(GOOD_CBOR, content_type=None, now_s=0)[0].value == 1.5
    assert senml.decode(b' [{"n":"x","v":1}]', content_type=None, now_s=0)[0].value == 1
    assert senml.decode(GOOD_CBOR, content_type="Application/SenML+CBOR; v=1", now_s=0)
    with pytest.raises(PayloadError, match="text/plain"):
        senml.decode(GOOD_CBOR, content_type="text/plain", now_s=0)


def test_cbor_decimal_fractions_are_numbers() -> None:
    payload = cbor2.dumps([{0: "x", 2: cbor2.CBORTag(4, [-2, 273])}])
    assert senml.decode(payload, content_type=None, now_s=0)[0].value == 2.73


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9\-:./_]{0,20}", fullmatch=True)
numbers = st.floats(allow_nan=False, allow_infinity=False)
records = st.builds(
    Record,
    name=names,
    time_s=st.floats(3e8, 4e9),
    value=numbers,
    unit=st.none() | st.sampled_from(["pH", "Cel", "kg/m3"]),
    update_s=st.none() | st.floats(0, 1e6),
) | st.builds(Record, name=names, time_s=st.floats(3e8, 4e9), data=st.binary(max_size=20))


@given(st.lists(records, min_size=1, max_size=20))
def test_what_is_packed_is_what_is_read(pack: list[Record]) -> None:
    for encode in (senml.encode_json, senml.encode_cbor):
        assert senml.decode(encode(pack), content_type=None, now_s=0) == pack


@given(st.binary(max_size=200))
def test_anything_else_is_a_payload_error_and_nothing_worse(payload: bytes) -> None:
    for content_type in (senml.CONTENT_TYPE_JSON, senml.CONTENT_TYPE_CBOR, None):
        try:
            senml.decode(payload, content_type=content_type, now_s=0)
        except PayloadError:
            continue


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b"", "the message is empty: send a SenML JSON array of records"),
        (b"hello", "not JSON, at byte 0, near 'hello': send a SenML JSON array"),
        (b'{"n":"ph"}', "the message is an object: send a SenML JSON array"),
        (b'[{"n":"ph","v":7.5}', "ends too early, after 19 bytes: send all of it"),
        (b'[{"n":"ph","v":7,5}]', 'at byte 17, near \':"ph","v":7,5}]\': write numbers with a point'),
        (b"[{'n':'ph'}]", "use double quotation marks"),
        (b"[1]", "record 0 is a number: send an object"),
        (b'[{"n":"ph","v":{}}]', "record 0 (channel 'ph'): 'v' is an object: send a number"),
        (b'[{"n":5,"v":1}]', "record 0: 'n' is a number: send a text"),
    ],
)
def test_what_the_json_library_reports_becomes_a_sentence_with_place_and_remedy(
    payload: bytes, says: str
) -> None:
    with pytest.raises(PayloadError) as error:
        senml.decode(payload, content_type=senml.CONTENT_TYPE_JSON, now_s=1.7e9)
    assert says in str(error.value)
    assert "`" not in str(error.value)


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b"", "the message is empty"),
        (bytes.fromhex("81a2006270680"[:-1]), "ends too early, after 6 bytes: send the pack whole"),
        (b"\xff", "not CBOR (it begins with ff)"),
        (b"\xa1\x00aa", "no CBOR array: send a SenML CBOR array"),
        (bytes.fromhex("81a200627068028101"), "record 0 (channel 'ph'): 'v' is a list: send a number"),
    ],
)
def test_what_the_cbor_library_reports_becomes_a_sentence_with_place_and_remedy(
    payload: bytes, says: str
) -> None:
    with pytest.raises(PayloadError) as error:
        senml.decode(payload, content_type=senml.CONTENT_TYPE_CBOR, now_s=1.7e9)
    assert says in str(error.value)
