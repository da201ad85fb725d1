"""Tests the embedded PostgreSQL and MQTT broker that `towntwin up` uses by default."""

from __future__ import annotations

import os
import queue
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest
from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from deploy.embedded.broker import EmbeddedBroker
from deploy.embedded.errors import EmbeddedError
from deploy.embedded.postgres import EmbeddedPostgres
from deploy.embedded.server_environment import default_folder
from tests.support.processes import REPOSITORY, wait_until
from tests.support.server_installation import enterable_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

TOPIC = "towntwin/v1/330483-d1/wz-01/data"
WITHIN_S = 60.0


def count(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        (number,) = connection.execute("SELECT count(*) FROM kept").fetchone() or (0,)
    return int(number)


def fill(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 100)")


# -- PostgreSQL -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def new_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Provide the folder of a stopped server that was started once: to initialise it takes seconds."""
    with enterable_folder(tmp_path_factory.mktemp("cluster")) as folder:
        with EmbeddedPostgres(folder / "postgres"):
            pass
        yield folder / "postgres"


@pytest.fixture
def cluster(new_cluster: Path, open_folder: Path) -> Path:
    """Return the folder of a copy of the stopped server."""
    subprocess.run(["/usr/bin/cp", "--archive", str(new_cluster), str(open_folder)], check=True)
    return open_folder / "postgres"


def test_data_outlive_the_server(cluster: Path) -> None:
    with EmbeddedPostgres(cluster) as server:
        fill(server.database("town"))
        first = server.pid
    assert not psutil.pid_exists(first)
    with EmbeddedPostgres(cluster) as server:
        assert count(server.database("town")) == 100
        fill(server.database("town", fresh=True))  # anew: else the table would be there


def test_data_outlive_a_kill(cluster: Path) -> None:
    server = EmbeddedPostgres(cluster).start()
    fill(server.database("town"))
    os.kill(server.pid, signal.SIGKILL)
    with EmbeddedPostgres(cluster) as again:
        assert count(again.database("town")) == 100
    server.stop()


def test_a_running_server_is_used_and_left_running(cluster: Path) -> None:
    with EmbeddedPostgres(cluster) as server:
        with EmbeddedPostgres(cluster) as second:
            assert second.pid == server.pid
            fill(second.database("town"))
        assert count(server.database("town")) == 100


def test_it_keeps_what_it_confirms_and_requires_its_password(cluster: Path) -> None:
    with EmbeddedPostgres(cluster) as server:
        with psycopg.connect(server.dsn("postgres")) as connection:
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                assert connection.execute(f"SHOW {setting}").fetchone() == ("on",)
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(f"postgresql://postgres:wrong@127.0.0.1:{server.port}/postgres")
        listening = {one.laddr.ip for one in psutil.Process(server.pid).net_connections() if not one.raddr}
        assert listening == {"127.0.0.1"}
        assert psutil.Process(server.pid).uids().effective != 0
    password = cluster / "password"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    assert password.read_text() not in (cluster / "log").read_text()


def test_half_made_data_are_made_anew(open_folder: Path) -> None:
    (open_folder / "postgres/data-being-made").mkdir(parents=True)
    (open_folder / "postgres/data-being-made/PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(open_folder / "postgres") as server:
        fill(server.database("town"))


def test_data_of_another_version_are_refused_in_words(cluster: Path) -> None:
    (cluster / "data/PG_VERSION").write_text("14\n")
    with pytest.raises(EmbeddedError, match=r"made by PostgreSQL 14.*pg_dump"):
        EmbeddedPostgres(cluster).start()


def test_a_port_in_use_is_reported_with_the_log(cluster: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(EmbeddedError, match=r"(?s)does not start.*Address already in use"):
            EmbeddedPostgres(cluster, port=taken.getsockname()[1]).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's servers run as somebody else")
def test_a_closed_folder_is_refused_in_words(open_folder: Path) -> None:
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(EmbeddedError, match=f", and {closed} is closed to it; name a folder"):
        EmbeddedPostgres(closed / "postgres").start()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the next start finds the server and uses it")
def test_both_end_with_their_parent_however_it_ends(open_folder: Path) -> None:
    script = """
import sys, time
from pathlib import Path
from deploy.embedded.broker import EmbeddedBroker
from deploy.embedded.postgres import EmbeddedPostgres
folder = Path(sys.argv[1])
servers = EmbeddedPostgres(folder / "postgres").start(), EmbeddedBroker(folder / "broker").start()
print(*(server.pid for server in servers), flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(open_folder)], stdout=subprocess.PIPE, cwd=REPOSITORY
    )
    assert parent.stdout is not None
    with parent.stdout:
        pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 2
    parent.kill()
    parent.wait()
    wait_until(lambda: not any(map(psutil.pid_exists, pids)), within_s=WITHIN_S, what="both servers end")


def test_the_default_folder_is_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert default_folder() == Path("/elsewhere/towntwin")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder() == Path.home() / ".cache/towntwin"


# -- the broker -----------------------------------------------------------------------------------


class Peer:
    """An MQTT client with a queue of what it was given; it acknowledges when it is told to."""

    def __init__(self, broker: EmbeddedBroker, name: str, *, old: bool = False) -> None:
        version = MQTTProtocolVersion.MQTTv311 if old else MQTTProtocolVersion.MQTTv5
        self.got: queue.Queue[MQTTMessage] = queue.Queue()
        self.flags: queue.Queue[ConnectFlags] = queue.Queue()
        self.client = Client(CallbackAPIVersion.VERSION2, name, protocol=version, manual_ack=True)
        self.client.on_connect = lambda _client, _data, flags, _code, _properties: self.flags.put(flags)
        self.client.on_message = lambda _client, _data, message: self.got.put(message)
        if old:
            self.client.connect(broker.host, broker.mqtt311_port)
        else:
            lasting = Properties(PacketTypes.CONNECT)
            lasting.SessionExpiryInterval = 3600
            self.client.connect(broker.host, broker.port, clean_start=False, properties=lasting)
        self.client.loop_start()
        self.resumed = self.flags.get(timeout=WITHIN_S).session_present

    def subscribe(self, topic: str) -> None:
        done: queue.Queue[int] = queue.Queue()
        self.client.on_subscribe = lambda _client, _data, mid, _codes, _properties: done.put(mid)
        self.client.subscribe(topic, 1)
        done.get(timeout=WITHIN_S)

    def publish(self, payload: bytes, topic: str = TOPIC) -> None:
        self.client.publish(topic, payload, qos=1).wait_for_publish(WITHIN_S)

    def take(self, number: int) -> list[MQTTMessage]:
        return [self.got.get(timeout=WITHIN_S) for _ in range(number)]

    def leave(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def publisher(embedded_broker: EmbeddedBroker) -> Iterator[Peer]:
    peer = Peer(embedded_broker, "publisher")
    yield peer
    peer.leave()


def test_a_session_resumes_with_what_was_never_acknowledged(
    embedded_broker: EmbeddedBroker, publisher: Peer
) -> None:
    first = Peer(embedded_broker, "ingest")
    assert not first.resumed
    first.subscribe("towntwin/v1/+/+/data")
    for number in range(10):
        publisher.publish(str(number).encode())
    for message in first.take(10)[:4]:
        first.client.ack(message.mid, message.qos)
    first.leave()
    for number in range(10, 15):
        publisher.publish(str(number).encode())
    second = Peer(embedded_broker, "ingest")
    assert second.resumed
    assert [int(message.payload) for message in second.take(11)] == list(range(4, 15))
    second.leave()


def test_ten_megabytes_pass(embedded_broker: EmbeddedBroker, publisher: Peer) -> None:
    subscriber = Peer(embedded_broker, "ingest")
    subscriber.subscribe("towntwin/v1/+/+/data")
    publisher.publish(b"x" * 10_000_000)
    (message,) = subscriber.take(1)
    assert len(message.payload) == 10_000_000
    subscriber.leave()


def test_what_is_properly_of_a_message_arrives(embedded_broker: EmbeddedBroker, publisher: Peer) -> None:
    subscriber = Peer(embedded_broker, "ingest")
    subscriber.subscribe("towntwin/v1/+/+/data")
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = [("epoch", "e"), ("number", "7")]
    properties.ContentType = "application/senml+cbor"
    publisher.client.publish(TOPIC, b"{}", qos=1, properties=properties)
    (message,) = subscriber.take(1)
    assert message.properties is not None
    assert message.properties.json()["UserProperty"] == [("epoch", "e"), ("number", "7")]
    assert message.properties.json()["ContentType"] == "application/senml+cbor"
    subscriber.leave()


def test_an_old_device_meets_the_new_ones(embedded_broker: EmbeddedBroker, publisher: Peer) -> None:
    old = Peer(embedded_broker, "old", old=True)
    subscriber = Peer(embedded_broker, "ingest")
    subscriber.subscribe("towntwin/v1/+/+/data")
    old.subscribe("towntwin/v1/+/+/receipt")
    old.publish(b"up")
    publisher.publish(b"down", TOPIC.replace("data", "receipt"))
    assert [message.payload for message in (*subscriber.take(1), *old.take(1))] == [b"up", b"down"]
    old.leave()
    subscriber.leave()


def test_many_devices_connect_at_once(embedded_broker: EmbeddedBroker) -> None:
    peers = [Peer(embedded_broker, f"device-{number}") for number in range(45)]
    assert all(peer.client.is_connected() for peer in peers)
    for peer in peers:
        peer.leave()


def test_its_memory_has_a_bound(embedded_broker: EmbeddedBroker, publisher: Peer) -> None:
    subscriber = Peer(embedded_broker, "ingest")
    subscriber.subscribe("towntwin/v1/+/+/data")
    payload = b"x" * 5_000_000
    for _ in range(60):  # 300 MB in all; the log of a filter keeps 128 MiB, and the allocator its due
        publisher.publish(payload)
        (message,) = subscriber.take(1)
        subscriber.client.ack(message.mid, message.qos)
    assert psutil.Process(embedded_broker.pid).memory_info().rss < 600_000_000
    subscriber.leave()


def test_it_listens_on_loopback_and_is_not_root(embedded_broker: EmbeddedBroker) -> None:
    process = psutil.Process(embedded_broker.pid)
    assert {one.laddr.ip for one in process.net_connections() if not one.raddr} == {"127.0.0.1"}
    assert process.uids().effective != 0


def test_a_killed_broker_starts_again_on_its_port(embedded_broker: EmbeddedBroker) -> None:
    before, url = embedded_broker.pid, embedded_broker.url
    embedded_broker.kill()
    started = time.monotonic()
    embedded_broker.start()
    assert time.monotonic() - started < WITHIN_S
    assert embedded_broker.pid != before
    assert embedded_broker.url == url
    Peer(embedded_broker, "device").leave()
    assert (embedded_broker.folder / "log").read_text() == ""


def test_a_broker_without_a_port_reports_it(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(EmbeddedError, match="does not start on mqtt:"):
            EmbeddedBroker(tmp_path, port=taken.getsockname()[1]).start()
