"""Fuzzes the pipeline: every message becomes readings or a dead letter; its neighbours are stored."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from edge.wire import receipts, senml, status, topics
from edge.wire.errors import PayloadError, TopicError
from ingest_service.pipeline.decode import DecodedBatch, decode, decode_isolating_defects
from ingest_service.pipeline.device_clocks import DeviceClocks
from ingest_service.pipeline.message import MAX_DETAIL_CHARACTERS, Message
from ingest_service.pipeline.series_resolver import SeriesResolver
from ingest_service.pipeline.shard_judge import ShardJudge
from ingest_service.storage.contract.models import Channel, Device, Directory, Series
from ingest_service.storage.postgres.dead_letters import message_digest
from tests.support import malformed_messages
from tests.support.malformed_messages import DATA, DIRECTORY, NOW_S, STATUS

if TYPE_CHECKING:
    from ingest_service.storage.contract.models import DeadLetter

GOOD = json.dumps(
    [{"n": "ph", "u": "pH", "v": 7.2, "t": NOW_S - 1}, {"n": "do", "u": "mg/L", "v": 8.1, "t": NOW_S - 1}]
).encode()


def decode_one(
    payload: bytes, *, topic: str = DATA, content_type: str | None = None, **more: Any
) -> tuple[DecodedBatch, list[float]]:
    """What is decoded of a message between two good ones, and its own values."""
    fields_sent = Message(topic, payload, NOW_S, content_type, **more)
    batch = [Message(DATA, GOOD, NOW_S), fields_sent, Message(DATA, GOOD, NOW_S)]
    out = decode(batch, SeriesResolver(DIRECTORY), DeviceClocks(tolerance_s=300), future_s=300)
    assert (out.message != 1).sum() == 4, "its neighbours are kept"
    judged = ShardJudge(DIRECTORY).judge(out)
    assert not judged.failed
    return out, out.value[out.message == 1].tolist()


def dead_letter_of(payload: bytes, **more: Any) -> DeadLetter:
    """The one dead letter of a message."""
    (dead_letter,) = decode_one(payload, **more)[0].dead_letters
    assert dead_letter.payload == payload
    return dead_letter


# -- values of another kind --------------------------------------------------------------------

PH = {0: "ph", 1: "pH", 2: 7.1, 6: NOW_S}
NO_NUMBER = {
    "undefined": cbor2.undefined,
    "an array": [8.0, 8.1],
    "a tagged date": cbor2.CBORTag(1, 1_790_000_000),
    "a map": {1: 2},
    "text": "8.1",
    "bytes": b"8",
    "a truth": True,
    "null": None,
    "not a number": float("nan"),
    "a rational over nothing": cbor2.CBORTag(30, [1, 0]),
    "a regular expression": cbor2.CBORTag(35, "(a+)+$"),
    "a decimal fraction without end": cbor2.CBORTag(4, [2**62, 1]),
    "a bigfloat without end": cbor2.CBORTag(5, [2**62, 1]),
    "a huge integer": 10**5000,
    "nested deeply": malformed_messages.nested(20),
    "a simple value": cbor2.CBORSimpleValue(99),
}


@pytest.mark.parametrize("name", NO_NUMBER)
@pytest.mark.parametrize("label", [2, 6])
def test_a_cbor_value_of_another_kind_sinks_its_record_alone(name: str, label: int) -> None:
    bad = {0: "do", 1: "mg/L", 2: 8.0, 6: NOW_S} | {label: NO_NUMBER[name]}
    payload = cbor2.dumps([PH, bad])
    out, values = decode_one(payload)
    if (name, label) == ("null", 6):  # a time of null is none: it is measured now
        assert (values, out.dead_letters) == ([7.1, 8.0], [])
        return
    assert values == [7.1]
    assert [one.payload for one in out.dead_letters] == [payload]


@pytest.mark.parametrize("name", sorted(set(NO_NUMBER) - {"null"}))
def test_a_base_time_of_another_kind_sinks_what_leans_on_it(name: str) -> None:
    assert dead_letter_of(cbor2.dumps([{-3: NO_NUMBER[name], **PH}, PH])).reason == "payload"


HEAVY = {
    "a huge array": b"\x9b" + b"\xff" * 8,
    "a huge map": b"\x81\xbb" + b"\x00\xff\xff\xff\xff\xff\xff\xff",
    "a huge text": b"\x81\x7b" + b"\x7f" + b"\xff" * 7,
    "huge bytes": b"\x81\x5a\x7f\xff\xff\xff",
    "a decimal fraction of a million digits": b"\x81\xa1\x02\xc4\x82\x00\xc2\x5a\x00\x10\x00\x00"
    + b"\xff" * 2**20,
    "an array that holds itself": bytes.fromhex("81d81c81d81d00"),
    "a map that is its own key": bytes.fromhex("81d81ca1d81d0000"),
    "deep": b"\x81" * 100_000,
    "deep in tags": b"\xd8\x1c" * 100_000 + b"\x00",
    "a billion laughs": b"\xd9\x01\x00\x82" + b"\x82\xd8\x1c" * 30 + b"\x80" + b"\xd8\x1d\x00" * 30,
    "JSON, deep": b'[{"n":"ph","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}]",
    "JSON, a value that is deep": b'[{"n":"ph","vd":' + b"[" * 900 + b"]" * 900 + b"}]",
    "JSON, a label that is no UTF-8": b'[{"\xff_":1,"n":"ph","v":7}]',
    "JSON, a name that is no UTF-8": b'[{"n":"\xcf\xa2","v":7}]',
    "JSON, 5,000 digits": b'[{"n":"ph","v":' + b"1" * 5000 + b"}]",
    "JSON, 1e400": b'[{"n":"ph","v":1e400}]',
    "JSON, NaN and depth": b'[NaN,{"n":"ph","x":' + b"[" * 100_000 + b"}]",
    "JSON, NaN and digits": b'[NaN,{"n":"ph","v":' + b"1" * 5000 + b"}]",
    "JSON, half of a surrogate pair": b'[{"n":"\\ud800","v":7}]',
}


@pytest.mark.parametrize("name", HEAVY)
def test_what_is_built_to_cost_time_or_memory_is_a_dead_letter(name: str) -> None:
    assert dead_letter_of(HEAVY[name]).reason == "payload"


# -- statuses ----------------------------------------------------------------------------------

STATUSES = {
    "GBK": b'{"online":true,"agent":"\xcb\xae\xd6\xca\xd2\xc7"}',
    "nested deeply": b'{"online":true,"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "a label that is no UTF-8": b'{"\xff":1,"online":1}',
    "NUL, which no database keeps": b'{"online":true,"agent":"\\u0000"}',
    "a depth that no bigint holds": b'{"online":true,"spool_depth":%d}' % 10**30,
    "5,000 digits": b'{"online":true,"evicted":%s}' % (b"1" * 5000),
    "a time that is none": b'{"online":true,"time_s":1e300}',
    "a time before time": b'{"online":true,"time_s":-1e12}',
    "nothing but a truth": b"true",
}


@pytest.mark.parametrize("name", STATUSES)
def test_a_status_that_can_not_be_read_is_a_dead_letter(name: str) -> None:
    assert dead_letter_of(STATUSES[name], topic=STATUS).reason == "payload"


@pytest.mark.parametrize("finer", [1e3, 1e6, 1e9])
def test_a_status_in_milliseconds_makes_no_clock_wrong(finer: float) -> None:
    clocks = DeviceClocks(tolerance_s=300)
    status_message = Message(STATUS, b'{"online":true,"time_s":%d}' % int(NOW_S * finer), NOW_S)
    out = decode([status_message], SeriesResolver(DIRECTORY), clocks, future_s=300)
    assert out.statuses[0].status["time_s"] == NOW_S
    assert (out.statuses[0].clock_offset_s, clocks.is_wrong("wz-01")) == (0.0, False)


# -- places ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "properties",
    [
        [("epoch", "e"), ("number", "1" * 4400)],
        [("epoch", "e"), ("number", "1" * 19)],
        [("epoch", "\ud800"), ("number", "1")],
        [("epoch", "x" * 60_000), ("number", "1")],
        [("epoch", "e"), ("number", "²")],
    ],
)
def test_a_spool_number_of_thousands_of_digits_is_no_place(properties: list[tuple[str, str]]) -> None:
    assert receipts.position_of(properties) is None


# -- records beside bad ones -------------------------------------------------------------------

DO = {"n": "do", "u": "mg/L", "v": 8.1, "t": NOW_S}
BESIDE = {
    "null": b'[{"n":"ph","u":"pH","v":null,"t":1790000000},%s]',
    "NaN": b'[{"n":"ph","u":"pH","v":NaN,"t":1790000000},%s]',
    "text": b'[{"n":"ph","u":"pH","v":"7","t":1790000000},%s]',
    "a name with a blank": b'[{"n":"p h","u":"pH","v":7,"t":1790000000},%s]',
    "no name": b'[{"u":"pH","v":7,"t":1790000000},%s]',
    "no record": b"[7,%s]",
    "two values": b'[{"n":"ph","v":7,"vs":"seven","t":1790000000},%s]',
    "bad base64": b'[{"n":"ph","vd":"?","t":1790000000},%s]',
}


@pytest.mark.parametrize("name", BESIDE)
def test_null_beside_good_records_loses_none_of_them(name: str) -> None:
    out, values = decode_one(BESIDE[name] % json.dumps(DO).encode())
    assert values == [8.1]
    (dead_letter,) = out.dead_letters
    assert "its 1 good records are stored" in dead_letter.detail


def test_a_base_record_alone_is_no_error() -> None:
    out, values = decode_one(b'[{"bn":"","bt":1790000000},{"n":"ph","u":"pH","v":7.3}]')
    assert (values, out.dead_letters) == ([7.3], [])
    assert decode_one(cbor2.dumps([{-2: "", -3: NOW_S}, {0: "ph", 1: "pH", 2: 7.3}]))[1] == [7.3]


# -- units, clocks, times ----------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["µS/cm", "μS/cm", "uS/cm", " μS/cm ", "μS／cm", "μS∕cm", "\ufeffµS/cm"])
def test_units_that_look_alike_are_the_same(unit: str) -> None:
    payload = json.dumps([{"n": "ec", "u": unit, "v": 410, "t": NOW_S}]).encode()
    out, values = decode_one(payload)
    assert (values, out.dead_letters) == ([410.0], [])


def test_a_unit_that_looks_alike_is_an_ordinary_one_from_then_on() -> None:
    resolver = SeriesResolver(DIRECTORY)
    code = resolver.code_of("wz-01", "ec", "μS/cm")
    assert code == resolver.codes_of("wz-01")["ec", "µS/cm"] == resolver.codes_of("wz-01")["ec", "μS/cm"]
    for number in range(5000):
        resolver.code_of("wz-01", "ec", " " * (number % 20) + "\u200b" * (number // 250) + "µS/cm")
    assert len(resolver.codes_of("wz-01")) < 1100, "nobody fills the memory with blanks"
    assert resolver.code_of("wz-01", "ec", "MS/cm") is None


@pytest.mark.parametrize(
    "time_s", [3e8, 315_964_800, 946_688_400, 1_072_915_200, 1_262_304_000, 1_420_070_400, 1_577_836_800]
)
def test_a_clock_that_was_never_set_is_recognised(time_s: float) -> None:
    dead_letter = dead_letter_of(json.dumps([{"n": "ph", "u": "pH", "v": 7.0, "t": time_s}]).encode())
    assert dead_letter.reason == "time"
    assert "its clock was never set" in dead_letter.detail


def test_a_clock_at_2000_01_01_is_recognised_of_a_device_of_unknown_age() -> None:
    unknown = Directory(**{name: getattr(DIRECTORY, name) for name in ("devices", "series", "channels")})
    pack = Message(DATA, b'[{"n":"ph","u":"pH","v":7.0,"t":946688400}]', NOW_S)
    out = decode([pack], SeriesResolver(unknown), DeviceClocks(tolerance_s=300), future_s=300)
    assert [one.reason for one in out.dead_letters] == ["time"]


def test_recorded_data_may_be_as_old_as_they_are() -> None:
    old = json.dumps([{"n": "ph", "u": "pH", "v": 7.0, "t": 946_688_400}]).encode()
    out, values = decode_one(old, properties=(receipts.RECORDED_PROPERTY,))
    assert (values, out.dead_letters) == ([7.0], [])
    recording = Directory(
        devices=[Device(device_id="wz-01", area_id=malformed_messages.AREA, kind="replay")],
        series=DIRECTORY.series,
        channels=DIRECTORY.channels,
        enrolled_s=DIRECTORY.enrolled_s,
    )
    out = decode(
        [Message(DATA, old, NOW_S)], SeriesResolver(recording), DeviceClocks(tolerance_s=300), future_s=300
    )
    assert out.value.tolist() == [7.0]


@pytest.mark.parametrize(
    ("time_s", "says"),
    [
        (NOW_S * 1e3, "milliseconds"),
        (NOW_S * 1e6, "microseconds"),
        (NOW_S * 1e9, "nanoseconds"),
        (NOW_S + 28_790, "eight hours"),
        (NOW_S + 28_800 - 60, "UTC"),
        (NOW_S + 90_000, "set the clock"),
    ],
)
def test_milliseconds_and_local_time_are_named_as_such(time_s: float, says: str) -> None:
    dead_letter = dead_letter_of(json.dumps([{"n": "ph", "u": "pH", "v": 7.0, "t": time_s}]).encode())
    assert dead_letter.reason == "time"
    assert says in dead_letter.detail


# -- retained ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        b'[{"n":"ph","u":"pH","v":6.6}]',
        b'[{"n":"ph","u":"pH","v":6.6,"t":-5}]',
        cbor2.dumps([{0: "ph", 1: "pH", 2: 6.6}]),
    ],
)
def test_retained_data_without_a_time_are_no_readings(payload: bytes) -> None:
    assert decode_one(payload)[1] == [6.6], "published now, they are measured now"
    out, values = decode_one(payload, retained=True)
    assert values == []
    (dead_letter,) = out.dead_letters
    assert (dead_letter.reason, dead_letter.retained) == ("time", True)
    assert "no absolute time" in dead_letter.detail


def test_retained_data_with_their_time_are_readings() -> None:
    assert decode_one(GOOD, retained=True)[1] == [7.2, 8.1]


@pytest.mark.parametrize("topic", [DATA, STATUS])
def test_clearing_a_retained_message_makes_no_dead_letter(topic: str) -> None:
    out, values = decode_one(b"", topic=topic)
    assert (values, out.dead_letters, out.statuses) == ([], [], [])


def test_an_empty_message_of_a_spool_is_a_dead_letter() -> None:
    assert dead_letter_of(b"", properties=(("epoch", "e"), ("number", "1"))).reason == "payload"


# -- dead letters ------------------------------------------------------------------------------


def test_the_dead_letter_of_a_large_gateway_is_bounded() -> None:
    names = [f"node-{i:03d}:ph" for i in range(1000)]
    large = Directory(
        devices=DIRECTORY.devices,
        series=DIRECTORY.series,
        channels=[
            Channel(device_id="wz-01", name=one, site_id="s1", quantity="ph", series_id=1) for one in names
        ],
    )
    pack = json.dumps([{"n": f"node-9{i}x:ph", "u": "pH", "v": 7, "t": NOW_S} for i in range(8)]).encode()
    out = decode(
        [Message(DATA, pack, NOW_S)], SeriesResolver(large), DeviceClocks(tolerance_s=300), future_s=300
    )
    (dead_letter,) = out.dead_letters
    assert len(dead_letter.detail) <= MAX_DETAIL_CHARACTERS
    assert "990 more" in dead_letter.detail
    assert "(and 3 more)" in dead_letter.detail


@pytest.mark.parametrize(
    "payload",
    [
        json.dumps([{"n": "x" * 500_000, "v": 1}]).encode(),
        json.dumps([{"n": " " * 500_000, "v": 1}]).encode(),
        json.dumps([{"n": "ph", "u": "u" * 500_000, "v": 1}]).encode(),
        json.dumps([{"y" * 500_000 + "_": 1}]).encode(),
    ],
)
def test_the_detail_of_every_dead_letter_is_bounded(payload: bytes) -> None:
    assert len(dead_letter_of(payload).detail) <= MAX_DETAIL_CHARACTERS
    assert len(dead_letter_of(payload, topic="t" * 65_535).detail) <= MAX_DETAIL_CHARACTERS
    assert len(dead_letter_of(payload, content_type="t" * 65_535).detail) <= MAX_DETAIL_CHARACTERS


def test_a_dead_letter_holds_nothing_that_no_database_keeps() -> None:
    dead_letter = dead_letter_of(
        b"\0", topic="a\0b\ud800", content_type="\0", properties=(("epoch", "\0"), ("number", "\ud800"))
    )
    texts = [
        dead_letter.topic,
        dead_letter.detail,
        str(dead_letter.content_type),
        *dead_letter.properties,
        *dead_letter.properties.values(),
    ]
    assert all("\0" not in one and one.encode() for one in texts)
    assert message_digest(dead_letter)


# -- anything ----------------------------------------------------------------------------------


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(malformed_messages.messages, min_size=1, max_size=8))
def test_anything_is_data_or_a_dead_letter_and_its_neighbours_are_stored(batch: list[Message]) -> None:
    judge, resolver, clocks = ShardJudge(DIRECTORY), SeriesResolver(DIRECTORY), DeviceClocks(tolerance_s=300)
    out = decode([*batch, Message(DATA, GOOD, NOW_S)], resolver, clocks, future_s=300)
    assert (out.message == len(batch)).sum() == 2
    judged = judge.judge(out)
    assert not judged.failed
    assert len(judged.fresh) + len(judged.doubtful) == len(out.value)
    for dead_letter in out.dead_letters:
        assert len(dead_letter.detail) <= MAX_DETAIL_CHARACTERS
        message_digest(dead_letter)
    for one in batch:
        receipts.position_of(one.properties)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(malformed_messages.trees)
def test_any_tree_is_records_or_a_payload_error(tree: Any) -> None:
    for shape in (tree, [tree], [{2: tree}], [{-3: tree, 0: "ph", 2: 1.0}], {"online": tree}):
        with suppress(cbor2.CBORError, ValueError, OverflowError, RecursionError):
            payload = cbor2.dumps(shape)
            with suppress(PayloadError):
                senml.decode_each(payload, content_type=senml.CONTENT_TYPE_CBOR, now_s=NOW_S)
    made = json.dumps(tree, default=str, skipkeys=True).encode("utf-8", "surrogatepass")
    for payload in (made, b"[" + made + b"]", b'[{"v":%s}]' % made, b'{"online":true,"x":%s}' % made):
        for read in (status.decode_status, receipts.decode_receipt):
            with suppress(PayloadError):
                read(payload)
        with suppress(PayloadError):
            senml.decode_each(payload, content_type=senml.CONTENT_TYPE_JSON, now_s=NOW_S)


@given(st.text(), st.lists(st.tuples(st.sampled_from(["epoch", "number", "x"]), st.text()), max_size=3))
def test_any_topic_and_properties_are_read_or_refused(topic: str, properties: list[tuple[str, str]]) -> None:
    with suppress(TopicError):
        topics.parse_topic(topic)
    position = receipts.position_of(properties)
    if position is not None:
        assert (
            receipts.decode_receipt(receipts.encode_receipt(receipts.receipts_for([position])[0])).epoch
            == position.epoch
        )


# -- behind all that ---------------------------------------------------------------------------


class DefectiveResolver(SeriesResolver):
    """A resolver with a defect that one message sets off."""

    def topic(self, name: str) -> topics.Topic:
        if "defect" in name:
            raise ZeroDivisionError("unforeseen")
        return super().topic(name)


def test_an_unforeseen_error_in_the_decoder_isolates_the_one_message() -> None:
    source = random.Random(1)
    batch = [Message(DATA, GOOD, NOW_S) for _ in range(20)]
    bad = source.sample(range(20), 3)
    for index in bad:
        batch[index] = Message("defect", GOOD, NOW_S)
    with capture_logs() as logged:
        out = decode_isolating_defects(
            batch, DefectiveResolver(DIRECTORY), DeviceClocks(tolerance_s=300), future_s=300
        )
    assert [(one["event"], one["exc_info"]) for one in logged] == [("decoding_failed", True)] * 3
    assert [(one.reason, one.topic, one.payload) for one in out.dead_letters] == [
        ("defect", "defect", GOOD)
    ] * 3
    assert sorted(set(out.message.tolist())) == sorted(set(range(20)) - set(bad))
    assert len(out.value) == 2 * 17
    assert "ZeroDivisionError" in out.dead_letters[0].detail


def test_a_defect_in_the_words_of_an_anomaly_stores_the_batch_unjudged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def sentences(*_: object, **__: object) -> None:
        raise KeyError("unforeseen")

    monkeypatch.setattr("analytics.quality.anomaly_text.anomaly_sentences", sentences)
    judge = ShardJudge(DIRECTORY)
    pack = json.dumps([{"n": "ph", "u": "pH", "v": 99.0, "t": NOW_S - 1}]).encode()  # beyond what can be
    out = decode(
        [Message(DATA, pack, NOW_S)], SeriesResolver(DIRECTORY), DeviceClocks(tolerance_s=300), future_s=300
    )
    with capture_logs():
        judged = judge.judge(out)
    assert (judged.failed, judged.fresh["quality"].tolist(), judged.anomalies) == (True, [2], [])


@pytest.mark.parametrize(
    "wrong",
    [
        Series(series_id=1, site_id="s1", quantity="ph", limits={"suspectlow": 6.5}),
        Series(series_id=1, site_id="s1", quantity="ph", limits={"suspect_low": 9, "suspect_high": 6}),
        Series(series_id=1, site_id="s1", quantity="ph", limits={"fail_high": float("inf")}),
        Series(series_id=1, site_id="s1", quantity="ph", limits={"level_memory_s": 0}),
        Series(series_id=1, site_id="s1", quantity="ph", adopted={"score_weak": 99}),
        Series(series_id=1, site_id="s1", quantity="ph", interval_s=float("nan")),
        Series(series_id=1, site_id="s1", quantity="pH"),
    ],
)
def test_what_is_wrong_in_the_database_stops_no_start(wrong: Series) -> None:
    directory = Directory(
        devices=DIRECTORY.devices,
        series=[wrong, *DIRECTORY.series[1:]],
        channels=[
            Channel(device_id="wz-01", name="ph", site_id="s1", quantity=wrong.quantity, series_id=1),
            *DIRECTORY.channels[1:],
        ],
    )
    judge, resolver = ShardJudge(directory), SeriesResolver(directory)
    assert list(judge.problems) == [f"s1/{wrong.quantity}"]
    out = decode([Message(DATA, GOOD, NOW_S)], resolver, DeviceClocks(tolerance_s=300), future_s=300)
    judged = judge.judge(out)
    assert not judged.failed
    assert judged.fresh["series_id"].tolist() == ([2] if wrong.quantity == "pH" else [1, 2])
