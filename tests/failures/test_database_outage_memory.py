"""Tests that ingest's memory is bounded during a database outage, as the broker holds the backlog."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge.wire import senml
from edge.wire.senml import Record
from tests.support.mqtt_packets import PUBACK, packets_of
from tests.support.network_fault_rig import WITHIN_S, NetworkFaultRig, TickDriver
from tests.support.processes import PlatformProcess, running_processes, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.conftest import StartMosquitto

TOPIC = "towntwin/v1/330483-d1/d1/data"
MIB = 1 << 20
MESSAGE_BYTES = 20_000
Records = list[list[tuple[bool, bytes]]]  # of each connection: whether from the client, and the bytes
FIRST, MORE = 40, 4000  # ticks of the two channels before the outage; messages during it
UNBOUNDED = ("max_queued_messages 0", "max_inflight_messages 0")
SLACK_BYTES = 12 * MIB  # threads, connections that are tried, what the allocator keeps

# A reading that was committed before an earlier one of its series.
MISPLACED = """
SELECT count(*) FROM (
    SELECT xmin::text::bigint < lag(xmin::text::bigint) OVER (PARTITION BY series_id ORDER BY "time") AS it_is
    FROM reading) AS placed
WHERE it_is OR EXISTS (SELECT FROM reading WHERE rules & 64 > 0)"""


class MessageFlood:
    """Messages of one reading, blown up with white space, straight to the broker."""

    def __init__(self, rig: NetworkFaultRig, broker: Any) -> None:
        self._rig = rig
        self._tick = 0
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.max_inflight_messages_set(100)
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()

    def publish(self, messages: int) -> Sequence[Any]:
        """Send so many; what to ask whether the broker has them."""
        found = []
        for _ in range(messages // 2):
            time_s = self._rig.ticks.start_s + self._tick * self._rig.ticks.step_s
            self._tick += 1
            for name, unit, value in (("ph", "pH", 7.0), ("turb", "NTU", 20.0)):
                record = Record(name=name, time_s=time_s, value=value + self._tick % 9 / 100, unit=unit)
                payload = senml.encode_json([record]).ljust(MESSAGE_BYTES)
                found.append(self._client.publish(TOPIC, payload, qos=1))
                self._rig.published.add((name, time_s))
        return found

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def broker(start_mosquitto: StartMosquitto) -> Any:
    return start_mosquitto(lines=UNBOUNDED)


@pytest.fixture
def rig(timescale_dsn: str, broker: Any, tmp_path: Path) -> Iterator[NetworkFaultRig]:
    ticks = TickDriver(float(int(time.time()) - FIRST - MORE), 0)
    with NetworkFaultRig(tmp_path, timescale_dsn, broker, ticks=ticks) as one:
        yield one


@pytest.fixture
def flood(rig: NetworkFaultRig, broker: Any) -> Iterator[MessageFlood]:
    one = MessageFlood(rig, broker)
    yield one
    one.close()


@pytest.mark.parametrize(
    ("settings", "held_bytes"),
    [
        ({"RECEIVE_MAXIMUM": "200", "BATCH_BYTES": str(MIB)}, 200 * MESSAGE_BYTES),
        (
            {"RECEIVE_MAXIMUM": "65535", "INBOX_BYTES": str(MIB), "BATCH_BYTES": str(MIB)},
            3 * MIB,  # the inbox, a batch on its way, and one that is judged
        ),
    ],
    ids=["bounded by the receive maximum", "bounded by the bytes of the inbox"],
)
def test_memory_is_flat_and_nothing_is_acknowledged(
    rig: NetworkFaultRig, flood: MessageFlood, settings: dict[str, str], held_bytes: int
) -> None:
    environ = {f"TOWNTWIN_INGEST_{name}": value for name, value in settings.items()}
    ingest = rig.ingest(TOWNTWIN_STORAGE_ANSWER_TIMEOUT_S="1.5", **environ)
    bound = 2 * held_bytes + SLACK_BYTES
    assert bound < MORE * MESSAGE_BYTES / 3, "what comes in must be more than what may be held"
    records = rig.broker_network.record()
    with running_processes(ingest):
        wait_until_stable(records, ingest, flood)
        memory = psutil.Process(ingest.process.pid).memory_info
        before = memory().rss
        rig.database_network.stall()
        grown = keep_database_away(ingest, flood, lambda: memory().rss) - before
        assert acknowledged(records) == 2 * FIRST, "nothing is acknowledged that nobody keeps"
        rig.database_network.restore()
        wait_until_arrived(rig)
        assert ingest.stop() == 0
    assert grown < bound, f"memory grew by {grown / MIB:.1f} MiB, of at most {bound / MIB:.1f}"
    rig.ledger()
    with psycopg.connect(rig.dsn) as connection:
        assert connection.execute(MISPLACED).fetchone() == (0,)


def acknowledged(records: Records) -> int:
    """Return how many messages ingest has acknowledged."""
    sent = [b"".join(data for from_client, data in record if from_client) for record in records]
    return sum(kind == PUBACK for data in sent for kind, _, _ in packets_of(data)[0])


def wait_until_stable(records: Records, ingest: PlatformProcess, flood: MessageFlood) -> None:
    """Let the first readings through, until they are acknowledged."""
    for event in ("subscribed", "judge_loaded"):  # the compiler takes memory once
        wait_until(lambda event=event: event in ingest.log.read_text(), within_s=WITHIN_S, what=event)  # type: ignore[misc]
    flood.publish(2 * FIRST)
    wait_until(lambda: acknowledged(records) == 2 * FIRST, within_s=WITHIN_S, what="the first are kept")


def keep_database_away(ingest: PlatformProcess, flood: MessageFlood, rss: Any) -> int:
    """Publish until the broker has everything and the database was tried in vain; the most memory [bytes]."""
    infos = flood.publish(MORE)
    most = 0

    def measured(true: bool) -> bool:  # noqa: FBT001 - a condition that is waited for
        nonlocal most
        most = max(most, rss())
        return true

    def tries() -> int:
        return ingest.log.read_text().count("store_unavailable")

    wait_until(
        lambda: measured(all(info.is_published() for info in infos)),
        within_s=WITHIN_S,
        what="the broker has everything",
    )
    before = tries()
    wait_until(lambda: measured(tries() > before), within_s=WITHIN_S, what="the database is tried in vain")
    return most


def wait_until_arrived(rig: NetworkFaultRig) -> None:
    def count() -> int:
        with psycopg.connect(rig.dsn) as connection:
            (found,) = connection.execute("SELECT count(*) FROM reading").fetchone() or (0,)
        return int(found)

    wait_until(lambda: count() >= len(rig.published), within_s=WITHIN_S, what="everything arrives")
