"""What a station sends becomes readings of its device, dead letters with a reason, and an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.wire import senml
from edge.wire.receipts import QUALITY_PROPERTY, REJECTION_PROPERTY
from gateway.hj212.checksum import hj212_checksum, modbus_checksum
from gateway.hj212.ciphers import encrypt_segment
from gateway.hj212.frames import Frame, FrameReader
from gateway.hj212.segment import Segment, build_frame
from gateway.hj212.session import StationSession
from gateway.hj212.stations import Station
from tests.support import hj212_frames as samples
from tests.support.hj212_inputs import receive_hj212

if TYPE_CHECKING:
    from edge.agent.spool import SpoolEntry

KEY = "30" * 16


def session(station: str, **settings: Any) -> StationSession:
    return StationSession({station: Station(station=station, area="a", device="d", **settings)})


def received(one: StationSession, raw: bytes) -> tuple[list[SpoolEntry], bytes | None]:
    reader = FrameReader()
    outcomes = [one.receive(found) for found in reader.feed(raw)]
    rest = reader.end()
    if rest is not None:
        outcomes.append(one.receive(rest))
    entries = [entry for outcome in outcomes for entry in outcome.entries]
    answers = [outcome.answer for outcome in outcomes if outcome.answer is not None]
    return entries, b"".join(answers) or None


def values(entries: list[SpoolEntry]) -> dict[str, float | None]:
    return {
        record.name: record.value
        for entry in entries
        if not dict(entry.properties).get(REJECTION_PROPERTY)
        for record in senml.decode(entry.payload, content_type=senml.CONTENT_TYPE_JSON, now_s=0)
    }


def rejection(entries: list[SpoolEntry]) -> str:
    (found,) = [dict(one.properties)[REJECTION_PROPERTY] for one in entries if dict(one.properties)]
    return found


def test_an_upload_becomes_readings_in_the_units_of_its_factors() -> None:
    entries, answer = received(session("ZLDSZ20210127"), samples.SURFACE_WATER)
    (entry,) = entries
    assert entry.address == "a/d"
    assert entry.readings == 11
    records = senml.decode(entry.payload, content_type=senml.CONTENT_TYPE_JSON, now_s=0)
    by_name = {record.name: record for record in records}
    assert by_name["w01014"].value == 1425
    assert by_name["w01014"].unit == "µS/cm"
    assert by_name["w01001"].time_s == 1614568260.0  # 2021-03-01 11:11:00 +08:00
    assert answer is None  # Flag=8: no answer is wanted


def test_the_time_of_sampling_of_a_factor_is_its_time() -> None:
    (entry,), _ = received(session("81733553213013"), samples.WASTE_WATER)
    times = {
        record.name: record.time_s
        for record in senml.decode(entry.payload, content_type=senml.CONTENT_TYPE_JSON, now_s=0)
    }
    assert times["w00000"] - times["w21001"] == 2400.0


def test_codes_of_the_2005_edition_are_those_of_the_newer_ones() -> None:
    entries, _ = received(session("0873HHMZWSLH02"), samples.EDITION_2005)
    assert values(entries) == {"w21003": 3.0943, "w01018": 18.0412, "w01001": 8.2137, "w00000": 10.989}


def test_hourly_means_are_channels_of_their_own() -> None:
    entries, answer = received(session("Z13401000010301"), samples.HOURLY_AIR)
    assert "a34006.hour" in values(entries)
    assert answer == build_frame(
        Segment(
            request="20190925181031464",
            system="91",
            command="9014",
            password="BF470F88957588DE902D1A52",  # noqa: S106 - of a published frame
            station="Z13401000010301",
            flag=4,
        )
    )


def test_both_packets_of_a_split_upload_are_stored() -> None:
    entries, _ = received(session("DM000001"), samples.SPLIT_1 + samples.SPLIT_2)
    assert len(values(entries)) == 8


def test_a_split_packet_without_a_time_has_that_of_the_packet_before() -> None:
    second = build_frame(
        Segment(command="2011", station="DM000001", flag=6, packets=2, packet=2, content="w01003-Rtd=48.6")
    )
    entries, _ = received(session("DM000001"), samples.SPLIT_1 + second)
    assert values(entries)["w01003"] == 48.6


@pytest.mark.parametrize(("letter", "quality"), [("M", "4"), ("C", "4"), ("D", "4"), ("T", "3"), ("Q", "3")])
def test_a_data_flag_becomes_the_quality_flag_of_its_readings(letter: str, quality: str) -> None:
    raw = build_frame(
        Segment(
            command="2011",
            station="A1",
            content=f"DataTime=20260101000000;w01001-Rtd=7.1,w01001-Flag=N;w01003-Rtd=9,w01003-Flag={letter}",
        )
    )
    entries, _ = received(session("A1"), raw)
    assert [(one.readings, dict(one.properties)) for one in entries] == [
        (1, {}),
        (1, {QUALITY_PROPERTY: quality}),
    ]


def test_a_repeated_upload_is_answered_and_not_stored_again() -> None:
    one = session("Z13401000010301")
    first, answer = received(one, samples.HOURLY_AIR)
    again, answer_again = received(one, samples.HOURLY_AIR)
    assert first
    assert again == []
    assert answer == answer_again


def test_a_station_that_expects_its_own_st_and_flag_gets_them() -> None:
    _, answer = received(session("Z13401000010301", acknowledge="as_sent"), samples.HOURLY_AIR)
    assert answer is not None
    assert b"ST=22;CN=9014" in answer
    assert b"Flag=5" in answer


def test_an_encrypted_upload_is_decrypted_before_its_checksum_is_compared() -> None:
    plain = b"ST=21;CN=2011;MN=A1;Flag=9;CP=&&DataTime=20260101000000;w01001-Rtd=7.1,w01001-Flag=N&&"
    encrypted = encrypt_segment(plain, bytes.fromhex(KEY))
    raw = b"##%04d%s%04X\r\n" % (len(plain), encrypted, hj212_checksum(plain))
    entries, answer = received(session("A1", key=KEY), raw)
    assert values(entries) == {"w01001": 7.1}
    assert answer is not None
    assert "key" in rejection(received(session("A1"), raw)[0])
    assert "another key" in rejection(received(session("A1", key="31" * 16), raw)[0])


def test_a_modbus_checksum_is_taken_only_where_the_settings_allow_it() -> None:
    segment = samples.FLAG_9.rstrip()[6:-4]
    raw = b"##%04d%s%04X\r\n" % (len(segment), segment, modbus_checksum(segment))
    assert "modbus_checksum" in rejection(received(session("A110000_0001"), raw)[0])
    assert len(values(received(session("A110000_0001", modbus_checksum=True), raw)[0])) == 5


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("w01001-Rtd=7.1", "no DataTime"),
        ("DataTime=20261301000000;w01001-Rtd=7.1", "no DataTime"),
        ("DataTime=20260101000000;w01001-Rtd=abc", "not a number"),
        ("DataTime=20260101000000;w01001-Rtd=nan", "not a finite number"),
        ("DataTime=20260101000000;w01001-Rtd=1;w01001-Rtd=2", "more than once"),
    ],
)
def test_what_can_t_be_read_is_kept_whole_with_a_sentence(content: str, sentence: str) -> None:
    raw = build_frame(Segment(command="2011", station="A1", content=content))
    entries, _ = received(session("A1"), raw)
    assert sentence in rejection(entries)
    assert entries[-1].payload == raw.rstrip()[6:-4]


def test_missing_values_are_left_out() -> None:
    raw = build_frame(
        Segment(command="2011", station="A1", content="DataTime=20260101000000;w01001-Rtd=-99;w01003-Rtd=3")
    )
    assert values(received(session("A1"), raw)[0]) == {"w01003": 3.0}


def test_an_unknown_station_or_password_gets_no_answer() -> None:
    entries, answer = received(session("OTHER"), samples.HOURLY_AIR)
    assert "unknown" in rejection(entries)
    assert answer is None
    other = session("Z13401000010301", password="other")  # noqa: S106 - not the one of the frame
    entries, answer = received(other, samples.HOURLY_AIR)
    assert "password" in rejection(entries)
    assert answer is None


CONTENT = st.lists(
    st.tuples(
        st.sampled_from(["DataTime", "w01001-Rtd", "w01001-Flag", "x", "-Rtd", "w01001-SampleTime", "PNO"]),
        st.one_of(st.text(max_size=12), st.integers().map(str), st.floats().map(str)),
        st.sampled_from([",", ";", ";;", ",,", " "]),
    ),
    max_size=8,
).map(lambda items: "".join(f"{name}={value}{separator}" for name, value, separator in items))


@given(
    st.sampled_from(["2011", "2051", "2061", "2031", "9011", "1013", "8888"]), CONTENT, st.integers(0, 300)
)
def test_no_content_raises(command: str, content: str, flag: int) -> None:
    segment = Segment(command=command, station="A1", flag=flag, content=content).content
    text = f"QN=1;CN={command};MN=A1;Flag={flag};CP=&&{segment}&&".encode("utf-8", "replace")
    outcome = session("A1").receive(Frame(text, hj212_checksum(text)))
    assert all(isinstance(one.payload, bytes) for one in outcome.entries)


@given(
    st.integers(0, 255),
    CONTENT.map(str.encode) | st.binary(max_size=80) | st.sampled_from(samples.GOOD),
)
def test_no_stream_segment_or_encrypted_content_raises(kind: int, content: bytes) -> None:
    for outcome in receive_hj212(bytes([kind]) + content):
        assert all(isinstance(one.payload, bytes) for one in outcome.entries)


def test_the_content_of_an_encrypted_upload_is_reached() -> None:
    content = b"DataTime=20260101000000;w01001-Rtd=7.1,w01001-Flag=N"
    for kind in (2, 3):
        outcomes = receive_hj212(bytes([kind]) + content)
        assert values([entry for one in outcomes for entry in one.entries]) == {"w01001": 7.1}, kind
