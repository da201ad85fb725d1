"""Sends hundreds of malformed and good messages to the running platform, then kills ingest for good."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import cbor2
import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from analytics.core.flags import Rule
from edge.wire import senml
from edge.wire.errors import PayloadError
from ingest_service.storage.contract.models import DeadLetterQuery
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support import malformed_messages
from tests.support.mqtt_test_device import MqttTestDevice, pack
from tests.support.platform_processes import PlatformProcesses
from tests.support.processes import running_processes, wait_until

if TYPE_CHECKING:
    from pathlib import Path

GOOD = "towntwin/v1/330483-d1/d1/data"
HOSTILE = "towntwin/v1/330483-d1/d2/data"  # enrolled, without a channel: nothing it sends is a reading
STATUS = "towntwin/v1/330483-d1/d2/status"
MESSAGES = 600  # of each kind
EVERY_S = 0.03
BUILT_TO_END_IT = (
    cbor2.dumps([{0: "ph", 2: [1]}]),
    cbor2.dumps([{0: "ph", 2: cbor2.undefined}]),
    cbor2.dumps([{-3: cbor2.CBORTag(1, 1.7e9), 0: "ph", 2: 7}]),
    b"[" * 100_000,
    b"\x81" * 100_000,
    b'[{"n":"ph","v":' + b"9" * 10_000 + b"}]",
    b"\xdb\xff\xff\xff\xff\xff\xff\xff\xff",
)
ODD_STATUSES = ('{"online": true, "agent": "版本"}'.encode("gbk"), b'{"online":' + b"[" * 20_000, b"\xff")


def must_be_kept(payload: bytes) -> bool:
    """Whether something of a message of a device without channels has to be a dead letter."""
    try:
        records, faults = senml.decode_each(payload, content_type=None, now_s=time.time())
    except PayloadError:
        return True
    return bool(records or faults)


@pytest.mark.timeout(300)
def test_hundreds_of_hostile_messages_end_no_process_and_cost_no_good_reading(
    timescale_dsn: str, mosquitto: Any, tmp_path: Path
) -> None:
    migrate(timescale_dsn)
    platform = PlatformProcesses(timescale_dsn, mosquitto, tmp_path)
    store = PostgresStore.open(timescale_dsn)
    processes = (platform.ingest, platform.service, platform.gateway)
    source = random.Random(15)
    retaining = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    retaining.connect(mosquitto.host, mosquitto.port)
    retaining.loop_start()
    for number, payload in enumerate(ODD_STATUSES):  # there already when ingest subscribes
        retaining.publish(STATUS.replace("d2", f"d2{number}"), payload, qos=1, retain=True)
        retaining.publish(HOSTILE.replace("d2", f"d2{number}"), payload, qos=1, retain=True)
    sent: set[bytes] = set(ODD_STATUSES)
    good: dict[float, float] = {}
    unready: list[str] = []
    try:
        with running_processes(*processes), MqttTestDevice(mosquitto, GOOD) as device:
            platform.wait_until_ready()
            for number in range(1, MESSAGES + 1):
                payload = (
                    BUILT_TO_END_IT[number // 8 % len(BUILT_TO_END_IT)]
                    if number % 8 == 0
                    else malformed_messages.payload(source, is_status=False)
                )
                device.send(payload, topic=HOSTILE, number=10_000 + number)
                sent |= {payload} if must_be_kept(payload) else set()
                if number % 20 == 0:
                    retaining.publish(STATUS, ODD_STATUSES[number // 20 % 3], qos=1, retain=True)
                    retaining.publish(HOSTILE, payload, qos=1, retain=True)
                at_s, value = float(int(time.time() - 3600)) + number, 7 + number % 50 / 100
                device.send(pack("ph", "pH", {at_s: value}), number=number)
                good[at_s] = value
                if number % 20 == 0 and (why := platform.not_ready_reason()):
                    unready.append(why)
                time.sleep(EVERY_S)
            wait_until(lambda: device.receipted >= set(range(1, MESSAGES + 1)), within_s=60, what="receipts")
            assert all(one.process.poll() is None for one in processes), "a process ended"
            assert unready == [], "health was not true throughout"

            series_id = next(one.series_id for one in store.directory().series if one.quantity == "ph")
            rows = store.readings(series_id, min(good) - 1, max(good) + 1, limit=10**6)
            stored = dict(zip((rows["time_us"] / 1e6).tolist(), rows["value"].tolist(), strict=True))
            assert stored == pytest.approx(good)
            assert not (rows["rules"] & (Rule.UNJUDGED | Rule.LATE)).any(), "all of them are judged"

            dead = store.dead_letters(DeadLetterQuery(limit=100_000))
            assert all(one.reason and len(one.detail) > 10 for one in dead)
            assert {one.reason for one in dead} <= {"payload", "channel", "value", "time", "unit", "device"}
            assert sent - {bytes(one.payload) for one in dead} == set()

            platform.ingest.kill()
            killed_s = time.monotonic()
            wait_until(lambda: bool(platform.not_ready_reason()), within_s=30, what="/readyz is true")
            platform.wait_for_state("absent", ok=False, within_s=10 - (time.monotonic() - killed_s))
    finally:
        retaining.disconnect()
        retaining.loop_stop()
        store.close()
