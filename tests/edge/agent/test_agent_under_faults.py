"""Tests agents with failing brokers, disks and receipts: no floods, no hangs, no silent loss."""

from __future__ import annotations

import logging
import socket
import threading
import time
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError
from itertools import count
from typing import TYPE_CHECKING

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge.agent.agent import Agent, AgentError
from edge.agent.settings import Settings
from edge.agent.spool import Spool, SpoolBusyError, SpoolEntry
from edge.drivers import Pack
from edge.drivers.line_driver import LineDriver
from edge.wire.broker_address import BrokerAddress
from edge.wire.senml import Record
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deploy.embedded.broker import EmbeddedBroker
    from edge.drivers import Driver
    from tests.support.throwaway_servers import MosquittoServer

NOWHERE = BrokerAddress("127.0.0.1", 9)
OBSERVED_S = 3.0
PUBLISH = 0x30
ACCEPTED = b"\x20\x03\x00\x00\x00"
BROKERS = {  # what is answered to CONNECT, and to the first PUBLISH; then the connection is closed
    "drops at once": (b"", b""),
    "refuses the password": (b"\x20\x03\x00\x87\x00", b""),
    "knows 3.1.1 only": (b"\x20\x02\x00\x01", b""),
    "knows 3.1.1 only and accepts": (b"\x20\x02\x00\x00", b""),
    "speaks HTTP": (b"HTTP/1.1 400 Bad Request\r\n\r\n", b""),
    "speaks TLS": (b"\x15\x03\x01\x00\x02\x02\x46", b""),
    "sends a property that is none": (b"\x20\x05\x00\x00\x02\xff\xff", b""),
    "closes on publish": (ACCEPTED, b"\x00"),
    "lets another take over": (ACCEPTED, b"\xe0\x02\x8e\x00"),
    "sends a topic that is no text": (ACCEPTED, b"\x32\x08\x00\x02\xff\xfe\x00\x01\x00x"),
    "acknowledges what was never sent": (ACCEPTED, b"\x40\x02\x77\x77"),
}


class PackDriver:
    """A driver of so many packs that are due, and then of silence or of a fault."""

    def __init__(self, n: int, fault: Exception | None = None, *, endless: bool = False) -> None:
        self.n, self.fault, self.endless = n, fault, endless

    def packs(self) -> Iterator[Pack | None]:
        for tick in range(self.n):
            time_s = 1.7e9 + tick
            yield Pack(due_s=time_s, records=[Record(name="ph", time_s=time_s, value=1.0)])
        if self.fault is not None:
            raise self.fault
        while self.endless:
            time.sleep(0.05)
            yield None


class HostileBroker:
    """Answers CONNECT with certain bytes, the first PUBLISH with others, and closes; counts connections."""

    def __init__(self, to_connect: bytes, to_publish: bytes) -> None:
        self.connects = 0
        self._answers = (to_connect, to_publish)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.broker = BrokerAddress("127.0.0.1", self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        to_connect, to_publish = self._answers
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connects += 1
                with client, suppress(OSError):
                    client.settimeout(5)
                    client.recv(4096)
                    client.sendall(to_connect)
                    if to_publish:
                        while not any(byte & 0xF0 == PUBLISH for byte in client.recv(65_536)[:1]):
                            pass
                        client.sendall(to_publish)

    def close(self) -> None:
        self._listener.close()


def agent(folder: Path, broker: BrokerAddress, driver: Driver, **settings: float) -> Agent:
    one = Settings(**settings)  # type: ignore[arg-type]
    spool = Spool.open(folder / "spool", one)
    return Agent(area="a", device="wz-01", driver=driver, spool=spool, broker=broker, settings=one)


@contextmanager
def connected(broker: MosquittoServer) -> Iterator[Client]:
    """A client that publishes what a test wants."""
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.connect(broker.host, broker.port)
    client.loop_start()
    yield client
    client.disconnect()
    client.loop_stop()


@contextmanager
def running(*agents: Agent) -> Iterator[None]:
    """Agents on threads of their own; each ends in time, and none by a fault."""
    stop, faults = threading.Event(), list[Exception]()

    def run(one: Agent) -> None:
        try:
            one.run(stop)
        except AgentError as error:
            faults.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in agents]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert faults == []


REMEDIES = ("name the broker's MQTT 5 port", "mend the user name and password", "stop one of the two")


def test_no_kind_of_broker_is_stormed_with_connections(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused CONNACK was seen to be answered with 5,449 connections in three seconds."""
    brokers = {name: HostileBroker(*answers) for name, answers in BROKERS.items()}
    agents = []
    for number, one in enumerate(brokers.values()):
        (tmp_path / str(number)).mkdir()
        agents.append(agent(tmp_path / str(number), one.broker, PackDriver(3, endless=True)))
    with caplog.at_level(logging.WARNING), running(*agents):
        wait_until(lambda: all(one.connects for one in brokers.values()), within_s=30, what="connections")
        before = {name: one.connects for name, one in brokers.items()}
        time.sleep(OBSERVED_S)
        connects = {name: one.connects - before[name] for name, one in brokers.items()}
        wait_until(
            lambda: all(one in caplog.text for one in REMEDIES), within_s=30, what="every broker was named"
        )
    for one in brokers.values():
        one.close()
    for name, connect_count in connects.items():
        assert connect_count <= 4, f"a broker that {name}"
    assert [one.counts().waiting for one in agents] == [3] * len(agents), "nothing left the spool"
    assert caplog.text.count("name the broker's MQTT 5 port") >= 3


def test_the_port_for_3_1_1_is_not_a_silent_one(
    embedded_broker: EmbeddedBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = BrokerAddress(embedded_broker.host, embedded_broker.mqtt311_port)
    with caplog.at_level(logging.WARNING), running(agent(tmp_path, old, PackDriver(1))):
        wait_until(lambda: "name the broker's MQTT 5 port" in caplog.text, within_s=20, what="a sentence")


def test_a_host_that_is_none_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.WARNING),
        running(agent(tmp_path, BrokerAddress("a" * 70 + ".town"), PackDriver(1))),
    ):
        wait_until(lambda: "can't be reached" in caplog.text, within_s=20, what="a sentence")


def test_a_receipt_that_breaks_something_does_not_end_the_agent(
    mosquitto: MosquittoServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = agent(tmp_path, BrokerAddress(mosquitto.host, mosquitto.port), PackDriver(2, endless=True))
    epoch = Spool.open(tmp_path / "spool", Settings()).epoch
    with caplog.at_level(logging.ERROR), running(one), connected(mosquitto) as client:
        window, unacknowledged = one._publisher._window, one._publisher._numbers
        wait_until(
            lambda: window.in_flight == 2 and not unacknowledged,  # it subscribed to receipts before it sent
            within_s=20,
            what="readings at the broker",
        )
        topic = "towntwin/v1/a/wz-01/receipt"
        for payload in (
            b"\xff\xfe",
            b"[" * 100_000,
            b'{"epoch":"%s","kept":[[1,%s]]}' % (epoch.encode(), b"9" * 5000),
            b'{"epoch":"%s","kept":[[-99999999999999999999,-1]]}' % epoch.encode(),
            b'{"epoch":"%s","kept":[[2,1]]}' % epoch.encode(),
        ):
            client.publish(topic, payload, qos=1).wait_for_publish(10)
        time.sleep(0.3)
        assert one.counts().waiting == 2
        client.publish(topic, b'{"epoch":"%s","kept":[[0,9223372036854775808]]}' % epoch.encode(), qos=1)
        wait_until(lambda: one.counts().waiting == 0, within_s=20, what="a good receipt is taken")


def test_a_status_that_can_not_be_made_keeps_no_reading_back(
    mosquitto: MosquittoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the agent runs from a copied folder, without the metadata of a package."""

    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("edge.agent.publisher.version", version)
    one = agent(tmp_path, BrokerAddress(mosquitto.host, mosquitto.port), PackDriver(5), receipts=False)
    one.run(threading.Event())
    assert one.counts().receipted == 5


def test_lines_that_were_read_before_a_stop_are_taken(tmp_path: Path) -> None:
    """The script that printed them will not print them again."""
    lines = b'[{"n":"ph","u":"pH","v":7.1}]\n' * 200
    quiet = (lines if number == 0 else b"" for number in count())
    one = agent(tmp_path, NOWHERE, LineDriver(quiet))
    stop = threading.Event()
    stop.set()
    one.run(stop)
    assert one.counts().waiting == 200


def test_a_full_disk_is_waited_for_and_no_reading_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = agent(tmp_path, NOWHERE, PackDriver(5, endless=True))
    connection = one._spool._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    one._spool.put([SpoolEntry(b"x", 1)])  # what room the pages have left is of no matter
    with pytest.raises(SpoolBusyError, match="full"):
        one._spool.put([SpoolEntry(b"x" * 100_000, 1)])
    assert one._spool.waiting == 1, "what was not committed is not counted"
    one._driver = PackDriver(3000, endless=True)
    with caplog.at_level(logging.ERROR), running(one):
        wait_until(lambda: "make room" in caplog.text, within_s=20, what="a sentence")
        taken = one.counts().taken
        connection.execute(f"PRAGMA max_page_count = {pages + 1000}")
        wait_until(lambda: one.counts().taken > taken, within_s=20, what="it goes on")
        wait_until(lambda: one.counts().waiting >= 2000, within_s=60, what="all that is not held back")
    assert one.not_spooled == 0


def test_readings_that_a_full_disk_did_not_take_are_counted_at_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = agent(tmp_path, NOWHERE, PackDriver(3000))
    connection = one._spool._connection
    connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")
    with caplog.at_level(logging.ERROR), running(one):
        wait_until(lambda: "make room" in caplog.text, within_s=20, what="the disk is full")
    assert one.not_spooled > 0
    assert one.counts().taken == one.counts().waiting


def test_a_spool_that_is_damaged_is_set_aside_and_sampling_goes_on(
    tmp_path: Path, mosquitto: MosquittoServer, caplog: pytest.LogCaptureFixture
) -> None:
    broker = BrokerAddress(mosquitto.host, mosquitto.port)
    one = agent(tmp_path, broker, PackDriver(50), receipts=False)
    one._spool._connection.execute("DROP TABLE message")
    one.run(threading.Event())
    assert one.counts().receipted == 50
    assert one._spool.set_aside == 1
    assert "it is set aside as" in caplog.text


def test_a_driver_that_dies_ends_the_agent_and_keeps_what_came_before(tmp_path: Path) -> None:
    one = agent(tmp_path, NOWHERE, PackDriver(5, ZeroDivisionError("a bad row")))
    with pytest.raises(AgentError, match="wz-01: the driver ended: ZeroDivisionError: a bad row"):
        one.run(threading.Event())
    assert one.counts().waiting == 5


def test_a_publisher_that_dies_ends_the_agent_although_the_driver_is_quiet(
    tmp_path: Path, mosquitto: MosquittoServer
) -> None:
    one = agent(tmp_path, BrokerAddress(mosquitto.host, mosquitto.port), PackDriver(0, endless=True))
    one._spool.close()  # found by whoever reads the spool: the publisher
    with pytest.raises(AgentError, match="wz-01: the publisher ended: the spool can't be used"):
        one.run(threading.Event())
