"""Tests that every kind of bad input becomes a complete dead letter with a remedy, and stops nothing."""

import json

import cbor2
import pytest

from edge.wire import senml
from edge.wire.senml import Record
from ingest_service.pipeline.decode import DecodedBatch, decode
from ingest_service.pipeline.device_clocks import DeviceClocks
from ingest_service.pipeline.message import Message
from ingest_service.pipeline.series_resolver import SeriesResolver
from ingest_service.storage.contract.models import Area, Channel, Device, Directory, Series, Site

NOW_S = 1_790_000_000.0
TOPIC = "towntwin/v1/330483-d1/wz-01/data"


@pytest.fixture
def resolver() -> SeriesResolver:
    return SeriesResolver(
        Directory(
            areas=[
                Area(area_id="330483-d1", level="town", en="A", zh="甲"),
                Area(area_id="b", level="town", en="B", zh="乙"),
            ],
            sites=[
                Site(
                    site_id="s1",
                    area_id="330483-d1",
                    kind="river_section",
                    en="S",
                    zh="断面",
                    lon=120.5,
                    lat=30.7,
                )
            ],
            devices=[Device(device_id="wz-01", area_id="330483-d1")],
            series=[
                Series(series_id=1, site_id="s1", quantity="ph"),
                Series(series_id=2, site_id="s1", quantity="dissolved_oxygen"),
            ],
            channels=[
                Channel(device_id="wz-01", name="ph", site_id="s1", quantity="ph", series_id=1),
                Channel(device_id="wz-01", name="do", site_id="s1", quantity="dissolved_oxygen", series_id=2),
            ],
            version=1,
        )
    )


def pack(*records: Record) -> bytes:
    return senml.encode_json(records)


GOOD = pack(
    Record(name="ph", time_s=NOW_S - 1, value=7.2, unit="pH"),
    Record(name="do", time_s=NOW_S - 1, value=0.0081, unit="kg/m3"),
)


def decoded(
    resolver: SeriesResolver, payload: bytes, *, topic: str = TOPIC, content_type: str | None = None
) -> DecodedBatch:
    bad = Message(topic, payload, NOW_S, content_type, (("epoch", "e"), ("number", "1")))
    return decode(
        [Message(TOPIC, GOOD, NOW_S), bad, Message(TOPIC, GOOD, NOW_S)],
        resolver,
        DeviceClocks(tolerance_s=300),
        future_s=300,
    )


def test_good_messages_become_columns_in_canonical_units(resolver: SeriesResolver) -> None:
    out = decode([Message(TOPIC, GOOD, NOW_S)], resolver, DeviceClocks(tolerance_s=300), future_s=300)
    assert (out.series_id.tolist(), out.dead_letters) == ([1, 2], [])
    assert out.value == pytest.approx([7.2, 8.1])
    assert out.time_s.tolist() == [NOW_S - 1] * 2


def test_a_value_that_was_converted_was_stored_and_shown_with_the_noise_of_the_conversion(
    resolver: SeriesResolver,
) -> None:
    """488.20000000000005, of 0.4882 kg/m3 or of a close spelling; what is not converted stays to its bits."""
    given = [number / 1e7 for number in range(1, 100_000, 7)]
    sent = [pack(Record(name="do", time_s=NOW_S + at / 1e3, value=one)) for at, one in enumerate(given)]
    sent.append(pack(Record(name="ph", time_s=NOW_S, value=0.1 + 0.2)))
    out = decode(
        [Message(TOPIC, one, NOW_S) for one in sent], resolver, DeviceClocks(tolerance_s=300), future_s=300
    )
    assert out.dead_letters == []
    expected = [number / 1e4 for number in range(1, 100_000, 7)]
    assert out.value.tolist() == [*expected, 0.1 + 0.2]
    assert any(one * 1000 != right for one, right in zip(given, expected, strict=True)), "there is noise"


BAD = {
    "no SenML": (b"hello", "payload"),
    "an object": (b'{"v": 1}', "payload"),
    "empty": (b"", "payload"),
    "ten megabytes": (b"x" * 10_000_000, "payload"),
    "truncated CBOR": (cbor2.dumps([{0: "ph", 2: 7.1, 6: NOW_S}])[:-3], "payload"),
    "not a number in CBOR": (cbor2.dumps([{0: "ph", 1: "pH", 2: float("nan"), 6: NOW_S}]), "payload"),
    "infinite in CBOR": (cbor2.dumps([{0: "ph", 1: "pH", 2: float("inf"), 6: NOW_S}]), "payload"),
    "wrong unit": (json.dumps([{"n": "ph", "u": "Cel", "v": 7, "t": NOW_S}]).encode(), "unit"),
    "unknown channel": (json.dumps([{"n": "nh3", "u": "kg/m3", "v": 7, "t": NOW_S}]).encode(), "channel"),
    "far future": (json.dumps([{"n": "ph", "u": "pH", "v": 7, "t": NOW_S + 86_400}]).encode(), "time"),
    "clock never set": (json.dumps([{"n": "ph", "u": "pH", "v": 7, "t": 3e8}]).encode(), "time"),
    "a string": (json.dumps([{"n": "ph", "vs": "seven", "t": NOW_S}]).encode(), "value"),
    "beyond doubles": (json.dumps([{"n": "do", "u": "kg/m3", "v": 1.5e308, "t": NOW_S}]).encode(), "value"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_payload_goes_whole_to_the_dead_letters_and_its_neighbours_are_kept(
    name: str, resolver: SeriesResolver
) -> None:
    payload, reason = BAD[name]
    content_type = senml.CONTENT_TYPE_CBOR if "CBOR" in name else None
    out = decoded(resolver, payload, content_type=content_type)
    (letter,) = out.dead_letters
    assert (letter.payload, letter.reason, letter.topic) == (payload, reason, TOPIC)
    assert letter.properties == {"epoch": "e", "number": "1"}
    assert len(letter.detail) > 20
    assert len(out.value) == 4


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ("towntwin/v1/330483-d1/stranger/data", "device"),
        ("towntwin/v1/b/wz-01/data", "device"),
        ("towntwin/v2/330483-d1/wz-01/data", "topic"),
        ("towntwin/v1/330483-d1/wz 01/data", "topic"),
    ],
)
def test_wrong_topics_are_dead_letters(topic: str, reason: str, resolver: SeriesResolver) -> None:
    (letter,) = decoded(resolver, GOOD, topic=topic).dead_letters
    assert (letter.reason, letter.payload) == (reason, GOOD)


def test_good_records_of_a_bad_message_are_stored(resolver: SeriesResolver) -> None:
    mixed = pack(
        Record(name="ph", time_s=NOW_S, value=7.0, unit="pH"), Record(name="x", time_s=NOW_S, value=1.0)
    )
    out = decode([Message(TOPIC, mixed, NOW_S)], resolver, DeviceClocks(tolerance_s=300), future_s=300)
    assert out.value.tolist() == [7.0]
    (letter,) = out.dead_letters
    assert "channel 'x' is not enrolled (the device has: do, ph)" in letter.detail
    assert "its 1 good records are stored" in letter.detail


def test_status_is_kept_and_a_wrong_one_is_a_dead_letter(resolver: SeriesResolver) -> None:
    topic = TOPIC.replace("data", "status")
    good = Message(topic, b'{"online":true,"spool_depth":3}', NOW_S)
    out = decode(
        [good, Message(topic, b'{"online":"yes"}', NOW_S)],
        resolver,
        DeviceClocks(tolerance_s=300),
        future_s=300,
    )
    assert [(one.device_id, one.status["spool_depth"]) for one in out.statuses] == [("wz-01", 3)]
    assert [letter.reason for letter in out.dead_letters] == ["payload"]
