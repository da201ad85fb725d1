"""Deviations from the standard that stations in the field show, and what is stored of each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.wire import senml
from edge.wire.receipts import QUALITY_PROPERTY, REJECTION_PROPERTY
from gateway.hj212 import readings, session
from gateway.hj212.checksum import hj212_checksum, modbus_checksum
from gateway.hj212.errors import SegmentError
from gateway.hj212.frames import FrameReader
from gateway.hj212.segment import Segment, parse_segment
from gateway.hj212.session import StationSession
from gateway.hj212.stations import FactorSettings, Station

if TYPE_CHECKING:
    from collections.abc import Callable

HEADER = "QN=20260101080000000;ST=21;CN=2011;PW=123456;MN=A1;Flag=4;"
TIME = "DataTime=20260101080000"
TIME_S = 1767225600.0


def framed(
    text: str | bytes,
    *,
    length: int | None = None,
    checksum: Callable[[bytes], int] = hj212_checksum,
    template: bytes = b"##%04d%s%04X\r\n",
) -> bytes:
    segment = text if isinstance(text, bytes) else text.encode()
    return template % (len(segment) if length is None else length, segment, checksum(segment))


def upload(content: str, header: str = HEADER) -> bytes:
    return framed(f"{header}CP=&&{content}&&")


class Stored:
    """Values, times, quality flags and sentences of dead letters of what one station sent."""

    def __init__(self, raw: bytes, **settings: Any) -> None:
        session = StationSession({"A1": Station(station="A1", area="a", device="d", **settings)})
        reader = FrameReader()
        found = list(reader.feed(raw))
        if (rest := reader.end()) is not None:
            found.append(rest)
        self.values: dict[str, float | None] = {}
        self.times: dict[str, float] = {}
        self.quality: dict[str, int] = {}
        self.rejections: list[str] = []
        for entry in [entry for one in found for entry in session.receive(one).entries]:
            properties = dict(entry.properties)
            if REJECTION_PROPERTY in properties:
                self.rejections.append(properties[REJECTION_PROPERTY])
                continue
            for record in senml.decode(entry.payload, content_type=senml.CONTENT_TYPE_JSON, now_s=0):
                self.values[record.name] = record.value
                self.times[record.name] = record.time_s
                self.quality[record.name] = int(properties.get(QUALITY_PROPERTY, "1"))


ONE_PH = f"{TIME};w01001-Rtd=7.1,w01001-Flag=N"


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(
            framed(f"{HEADER}CP=&&{ONE_PH}&&", template=b"##%04d%s%04x\r\n"), id="checksum-in-lower-case"
        ),
        pytest.param(framed(f"{HEADER}CP=&&{ONE_PH}&&", template=b"##%04d%s%04X"), id="no-line-end"),
        pytest.param(framed(f"{HEADER}CP=&&{ONE_PH}&&", template=b"##%04d%s%04X\n"), id="line-feed-alone"),
        pytest.param(b"\xfe\xfeAT+CSQ\r\n#" + upload(ONE_PH), id="garbage-before-the-frame"),
        pytest.param(b"##0210QN=20260101" + upload(ONE_PH), id="torn-frame-before-the-frame"),
        pytest.param(b"######" + upload(ONE_PH), id="too-many-hashes"),
        pytest.param(upload(ONE_PH, "ST=21;CN=2011;PW=123456;MN=A1;"), id="no-request-number-and-no-flag"),
        pytest.param(upload(ONE_PH, HEADER.replace("Flag", "FLAG")), id="flag-in-capitals"),
        pytest.param(upload(ONE_PH, HEADER.replace(";MN", ";,MN")), id="stray-comma-in-the-header"),
        pytest.param(upload(ONE_PH, HEADER.replace(";", "; ")), id="blanks-in-the-header"),
        pytest.param(upload(ONE_PH, HEADER.replace("PW=123456", "PW=")), id="empty-password"),
        pytest.param(upload(ONE_PH, HEADER + "RF=0;"), id="resend-mark-that-does-not-exist"),
        pytest.param(upload(ONE_PH, HEADER + "PNUM=0003;PNO=0002;"), id="packet-numbers-with-zeros"),
        pytest.param(upload("PNUM=1;PNO=11;" + ONE_PH), id="packet-numbers-in-the-content"),
        pytest.param(upload(ONE_PH.replace(TIME, TIME + "000")), id="time-with-milliseconds"),
        pytest.param(upload(f"w01001-Rtd=7.1,w01001-Flag=N;{TIME}"), id="time-after-the-values"),
        pytest.param(upload(ONE_PH.replace(";", ",")), id="commas-in-place-of-semicolons"),
        pytest.param(upload(ONE_PH.replace(",", ";")), id="semicolons-in-place-of-commas"),
        pytest.param(upload(f";;{ONE_PH.replace(',', ' , ')};,;"), id="empty-groups-and-blanks"),
        pytest.param(upload(f"{ONE_PH};w01001-Rtd=7.1,w01001-Flag=N"), id="factor-repeated-with-its-value"),
        pytest.param(upload(f"{ONE_PH};w01003-Rtd=-99,w01003-Flag=N"), id="missing-value"),
        pytest.param(upload(f"{ONE_PH};w01003-Rtd=-99.000000"), id="missing-value-with-decimals"),
        pytest.param(upload(f"{ONE_PH};w01003-Rtd=,w01003-Flag=D"), id="empty-value"),
        pytest.param(upload(f"{ONE_PH};w01009-Rtd"), id="item-without-a-value"),
        pytest.param(
            upload(f"{TIME};w01001-Avg=7.1,w01001-Max=9;w01001-Min=5,w01001-Flag=N"), id="mean-in-2011"
        ),
        pytest.param(upload(f"{TIME};001-Rtd=7.1,001-Flag=N"), id="code-of-2005"),
        pytest.param(upload(f"{TIME};w01001-Rtd=+7.10e0,w01001-EFlag=A01,w01001-Flag=N"), id="other-fields"),
        pytest.param(framed(f"{HEADER}CP=&&{ONE_PH};Info=站房&&".encode("gb18030")), id="checksum-over-gbk"),
        pytest.param(
            framed(f"{HEADER}CP=&&{ONE_PH};Info=站房&&", length=len(f"{HEADER}CP=&&{ONE_PH};Info=站房&&")),
            id="length-in-characters",
        ),
    ],
)
def test_the_value_is_stored_once_with_its_time_and_flag(raw: bytes) -> None:
    stored = Stored(raw)
    assert stored.values == {"w01001": 7.1}
    assert stored.times == {"w01001": TIME_S}
    assert stored.quality == {"w01001": 1}


@pytest.mark.parametrize(
    "content", [f"{TIME};w01001-Rtd=7.1;w01001-Flag=D", f"w01001-Flag=D;{TIME};w01001-Rtd=7.1"]
)
def test_a_fault_flag_in_another_group_than_its_value_counts(content: str) -> None:
    assert Stored(upload(content)).quality == {"w01001": 4}


def test_a_factor_repeated_with_another_value_keeps_the_first_and_is_reported() -> None:
    stored = Stored(upload(f"{ONE_PH};w01001-Rtd=7.2,w01001-Flag=D"))
    assert (stored.values, stored.quality) == ({"w01001": 7.1}, {"w01001": 1})
    assert ["more than once" in one for one in stored.rejections] == [True]


@pytest.mark.parametrize("digits", [868, 1025, 1623])
def test_a_segment_beyond_1024_bytes_is_taken_with_either_checksum(digits: int) -> None:
    text = f"{HEADER}CP=&&{ONE_PH};Info="
    segment = text + "x" * (digits - len(text) - 2) + "&&"
    assert Stored(framed(segment)).values == {"w01001": 7.1}
    modbus = framed(segment, checksum=modbus_checksum)
    assert Stored(modbus, modbus_checksum=True).values == {"w01001": 7.1}
    (sentence,) = Stored(modbus).rejections
    assert "modbus_checksum" in sentence


def test_a_length_that_is_wrong_is_taken_only_where_the_settings_allow_it() -> None:
    segment = f"{HEADER}CP=&&{ONE_PH}&&"
    raw = framed(segment, length=len(segment) + 28)
    assert Stored(raw).values == {}
    assert "wrong_length" in Stored(raw).rejections[0]
    assert Stored(raw, wrong_length=True).values == {"w01001": 7.1}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (f"{TIME};w 1001-Rtd=7.1", "not the name of a factor"),
        (f"{TIME};w01001-Cou=7.1", "has no value"),
        (TIME, "has no value"),
        ("", "no DataTime"),
        (f"{TIME};w01001-Rtd=7,1", None),  # a decimal comma looks like the end of a group
    ],
)
def test_an_upload_without_a_value_is_not_dropped_without_a_word(content: str, sentence: str | None) -> None:
    stored = Stored(upload(content))
    if sentence is None:
        assert stored.values == {"w01001": 7.0}
    else:
        assert [sentence in one for one in stored.rejections] == [True]


def test_a_real_time_value_in_an_hourly_upload_is_its_value() -> None:
    header = HEADER.replace("2011", "2061")
    assert Stored(upload(f"{TIME};w01001-Rtd=7.1", header)).values == {"w01001.hour": 7.1}


NAMES = st.sampled_from(
    ["DataTime", "w01001-Rtd", "w01001-Flag", "w01003-Rtd", "w01003-Avg", "001-Rtd", "w01003-SampleTime", "x"]
)
TEXTS = st.sampled_from(["20260101080000", "7.1", "", " 8 ", "N", "D", "-99", "abc", "1_0", "a=b", "nan"])
ITEMS = st.lists(st.tuples(NAMES, st.sampled_from(["=", "==", ""]), TEXTS), max_size=8)


@given(ITEMS, st.lists(st.sampled_from([",", ";", ";;", " ,"]), min_size=8, max_size=8))
def test_values_by_a_known_layout_are_those_of_the_slow_twin(
    items: list[tuple[str, str, str]], separators: list[str]
) -> None:
    content = "".join(
        "".join(item) + separator for item, separator in zip(items, separators, strict=False)
    ).rstrip(",; ")
    station = Station(station="A1", area="a", device="d")
    segment = Segment(command="2011", station="A1", content=content)

    def result(function: Callable[[], readings.UploadedReadings]) -> object:
        try:
            found = function()
        except SegmentError as error:
            return str(error)
        return sorted(found.readings, key=lambda one: one.record.name), sorted(found.faults), found.time_s

    slow = result(lambda: readings._readings_anywhere(segment, station, None))
    for _ in range(2):  # the second time with the layout that the first has kept
        assert result(lambda: readings.uploaded_readings(segment, station)) == slow


NUMBERS = st.one_of(
    st.sampled_from(
        ["7.1", "0", "-0.50", "007", "1e5", "1_0", "", " 8", "-99", "-99.0", "-999", "nan", "٣", "9" * 30]
    ),
    st.decimals(-1000, 1000, places=3).map(str),
)


@given(
    st.lists(st.tuples(NUMBERS, st.sampled_from(["N", "N", "N", "D", ""])), min_size=1, max_size=4),
    st.sampled_from(["20260101080000", "20260101080000123", "20260230080000", "2026010108", ""]),
    st.sampled_from([(-99.0, -999.0), (0.0, 7.1)]),
)
def test_usual_uploads_give_the_same_messages_as_the_long_way(
    items: list[tuple[str, str]], time_text: str, missing: tuple[float, ...]
) -> None:
    codes = ("w01001", "w01003", "x1", "w21003")

    def content(values: list[tuple[str, str]], at: str) -> str:
        texts = [
            f"{code}-Rtd={value},{code}-Flag={flag}"
            for code, (value, flag) in zip(codes, values, strict=False)
        ]
        return ";".join([f"DataTime={at}", *texts])

    percent = {"w01003": FactorSettings(unit="%")}
    station = Station(station="A1", area="a", device="d", missing=missing, factors=percent)
    usual = content([("1.5", "N")] * len(items), "20260101080000")
    for _ in range(2):  # the second time keeps the layout as a usual one
        readings.uploaded_readings(Segment(command="2011", station="A1", content=usual), station)
    segment = Segment(command="2011", station="A1", content=content(items, time_text))
    found = readings.usual_message(segment, station)
    plain = re.compile(r"-?(0|[1-9]\d{0,9})(\.\d+)?", re.ASCII)
    is_plain = all(flag == "N" and plain.fullmatch(value) is not None for value, flag in items)
    is_complete = not any(float(value) in missing for value, _ in items) if is_plain else False
    assert (found is not None) == (is_plain and is_complete and time_text == "20260101080000")
    if found is not None:
        slow = readings.uploaded_readings(segment, station)
        (entry,) = session._messages(slow.readings, "a/d")
        assert slow.faults == []
        assert (found.readings, found.time_s) == (entry.readings, slow.time_s)
        fast, slow_way = (
            senml.decode(one, content_type=None, now_s=slow.time_s) for one in (found.payload, entry.payload)
        )
        assert fast == slow_way


def test_a_usual_layout_is_kept_for_each_of_some_contents_of_a_command() -> None:
    station = Station(station="A1", area="a", device="d")
    contents = [f"{TIME};w0100{at}-Rtd=7.1,w0100{at}-Flag=N" for at in (1, 3, 6, 9)]
    for content in contents * 2:
        readings.uploaded_readings(Segment(command="2011", station="A1", content=content), station)
    kept = [readings.usual_message(Segment(command="2011", content=one), station) for one in contents]
    assert [one is not None for one in kept] == [False, True, True, True]


@given(st.text(max_size=80))
def test_no_header_raises_another_error(header: str) -> None:
    try:
        parse_segment(f"{header}CP=&&&&")
    except SegmentError:
        return
