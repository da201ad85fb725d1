"""Tests the mappings of payloads: examples of each format, and any bytes or JSON at all."""

from __future__ import annotations

import json
import math
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.drivers import influx_lines
from edge.drivers.driver_options import DriverOptionsError
from edge.drivers.payload_mapping import PayloadMapping, map_payload
from edge.drivers.registry import DRIVERS
from edge.wire.errors import PayloadError

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW_S = 1_795_000_000.0
MAPPINGS: dict[str, dict[str, Any]] = {
    "json": {
        "values": [
            {"channel": "ph", "path": "probes.0.pH", "unit": "pH"},
            {"channel": "water_level", "path": "level", "unit": "cm"},
        ],
        "time_path": "ts",
        "time_format": "ms",
    },
    "chirpstack": {
        "format": "chirpstack",
        "values": [{"channel": "water_temperature", "path": "temp", "unit": "°C", "scale": 0.1}],
        "where": {"deviceInfo.devEui": "0102030405060708"},
    },
    "tasmota": {
        "format": "tasmota",
        "time_zone": "Asia/Shanghai",
        "values": [{"channel": "air_temperature", "path": "DS18B20.Temperature", "unit": "C"}],
    },
    "influx": {
        "format": "influx",
        "values": [{"channel": "ph", "path": "river.ph", "unit": "pH"}],
        "where": {"site": "West bridge"},
    },
}
EXAMPLES = {
    "json": b'{"ts": 1795000000500, "probes": [{"pH": 7.1}], "level": 132}',
    "chirpstack": json.dumps({
        "deduplicationId": "3ac7e3c4-4401-4b8d-9386-a5c902f9202d",
        "time": "2026-11-18T09:46:40.25+00:00",
        "deviceInfo": {"tenantName": "t", "devEui": "0102030405060708"}, "fCnt": 4, "fPort": 1,
        "data": "AL8=",
        "object": {"temp": 191}, "rxInfo": [],
    }).encode(),
    "tasmota": b'{"Time":"2026-11-18T17:46:40","DS18B20":{"Id":"01","Temperature":20.6},"TempUnit":"C"}',
    "influx": b"# comment\nriver,site=East ph=1 1795000000000000000\n"
    b"river,site=West\\ bridge ph=7.3 1795000000250000000\n",
}  # fmt: skip
EXPECTED = {
    "json": [("ph", 7.1, "pH", NOW_S + 0.5), ("water_level", 1.32, "m", NOW_S + 0.5)],
    "chirpstack": [("water_temperature", 19.1, "Cel", NOW_S + 0.25 - 4_800.0)],
    "tasmota": [("air_temperature", 20.6, "Cel", NOW_S - 4_800.0)],
    "influx": [("ph", 7.3, "pH", NOW_S + 0.25)],
}


def mapping_of(name: str) -> PayloadMapping:
    return msgspec.convert(MAPPINGS[name], PayloadMapping)


@pytest.mark.parametrize("name", sorted(MAPPINGS))
def test_an_example_of_each_format_becomes_records(name: str) -> None:
    records = map_payload(EXAMPLES[name], mapping_of(name), now_s=NOW_S)
    assert [(one.name, one.unit, one.time_s) for one in records] == [
        (channel, unit, time_s) for channel, _, unit, time_s in EXPECTED[name]
    ]
    assert [one.value for one in records] == pytest.approx([value for _, value, _, _ in EXPECTED[name]])


def test_an_event_of_another_device_has_no_records() -> None:
    event = EXAMPLES["chirpstack"].replace(b"0708", b"0709")
    assert map_payload(event, mapping_of("chirpstack"), now_s=NOW_S) == []


def test_an_event_without_a_codec_names_the_remedy() -> None:
    event = EXAMPLES["chirpstack"].replace(b'"object"', b'"other"')
    with pytest.raises(PayloadError, match="codec"):
        map_payload(event, mapping_of("chirpstack"), now_s=NOW_S)


def test_a_payload_that_is_the_value_itself() -> None:
    mapping = msgspec.convert({"values": [{"channel": "ph", "path": ""}]}, PayloadMapping)
    assert map_payload(b"7.4", mapping, now_s=NOW_S)[0].value == 7.4


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["ts", "probes", "pH", "level", "object", "temp", "time", "Time", "DS18B20", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


payloads = json_values.map(json.dumps).map(str.encode) | st.binary(max_size=60)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


@given(st.sampled_from(sorted(MAPPINGS)), payloads)
def test_any_payload_gives_records_or_a_payload_error(name: str, payload: bytes) -> None:
    values_or_refused(name, payload)


@given(leaves)
def test_any_leaf_of_an_example_gives_values_or_a_payload_error(leaf: object) -> None:
    at_least_one = values_or_refused("json", json.dumps({"probes": [{"pH": leaf}], "level": 132}).encode())
    assert at_least_one is None or at_least_one[-1] == pytest.approx(1.32)
    values_or_refused("chirpstack", json.dumps({"object": {"temp": leaf}}).encode())
    values_or_refused("tasmota", json.dumps({"DS18B20": {"Temperature": leaf}}).encode())


def values_or_refused(name: str, payload: bytes) -> list[float] | None:
    """Map a payload of any device; return the values, each a finite number, or None if it is refused."""
    mapping = msgspec.structs.replace(mapping_of(name), where={})
    try:
        records = map_payload(payload, mapping, now_s=NOW_S)
    except PayloadError:
        return None
    values = [one.value for one in records if one.value is not None]
    assert len(values) == len(records)
    assert all(isinstance(one, float) and math.isfinite(one) for one in values)
    return values


names = st.text(st.characters(codec="ascii", exclude_characters='\\\n\r"#', min_codepoint=32), min_size=1)


@given(names, st.dictionaries(names, names), st.dictionaries(names, st.floats(-1e9, 1e9), min_size=1))
def test_escaped_names_are_read_as_they_were_written(
    measurement: str, tags: dict[str, str], fields: dict[str, float]
) -> None:
    def escaped(text: str) -> str:
        return "".join("\\" + one if one in ",= " else one for one in text)

    line = escaped(measurement) + "".join(f",{escaped(key)}={escaped(one)}" for key, one in tags.items())
    line += " " + ",".join(f"{escaped(key)}={one!r}" for key, one in fields.items()) + " 17"
    assert influx_lines.parse_lines(line) == [influx_lines.InfluxPoint(measurement, tags, fields, 17)]


@contextmanager
def camera(answers: list[bytes]) -> Iterator[str]:
    """A camera that gives one answer after the other, and status 503 at an empty one."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answers.pop(0)
            self.send_response(200 if body and self.headers["X-Key"] == "k" else 503)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/counts"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_camera_that_counts_gives_a_flow_and_survives_failures_and_restarts() -> None:
    totals = [b'{"n": 100, "v": 36}', b'{"n": 112, "v": 36}', b"", b"no json", b'{"n": 3, "v": 36}']
    with camera([*totals, b'{"n": 5, "v": 36}']) as url:
        driver: Any = DRIVERS["http_counter"]({
            "url": url, "headers": {"X-Key": "k"}, "interval_s": 0.001,
            "mapping": {"values": [
                {"channel": "traffic_flow", "path": "n", "total": True},
                {"channel": "traffic_speed", "path": "v", "unit": "km/h"},
            ]},
        })  # fmt: skip
        times = iter([0.0, 60.0, 120.0, 180.0, 240.0, 250.0])
        driver._clock = lambda: next(times)
        faults: list[str] = []
        driver.on_fault = faults.append
        packs = driver.packs()
        found: list[Any] = []
        while len(found) < 4:
            pack = next(packs)
            found += [pack] if pack else []
        packs.close()
    flows = [{one.name: one.value for one in pack.records} for pack in found]
    assert [one.get("traffic_flow") for one in flows] == [None, pytest.approx(0.2), None, pytest.approx(0.2)]
    assert [one["traffic_speed"] for one in flows] == [pytest.approx(10.0)] * 4
    assert ["503" in faults[0], "no JSON" in faults[1], "read again" in faults[2]] == [True] * 3


@pytest.mark.parametrize(
    "mapping",
    [
        {"values": []},
        {"values": [{"channel": "p h", "path": "x"}]},
        {"values": [{"channel": "ph", "path": "x", "unit": "m"}]},
        {"values": [{"channel": "ph", "path": "x"}], "time_zone": "Mars/Olympus"},
        {"values": [{"channel": "ph", "path": "x", "quantity": "acidity"}]},
    ],
)
def test_a_wrong_mapping_is_refused_before_it_is_used(mapping: dict[str, Any]) -> None:
    with pytest.raises(DriverOptionsError):
        DRIVERS["http_counter"]({"url": "http://127.0.0.1", "mapping": mapping})


def test_only_http_is_fetched() -> None:
    with pytest.raises(DriverOptionsError, match="http"):
        DRIVERS["http_counter"]({"url": "file:///etc/hosts", "mapping": MAPPINGS["json"]})
