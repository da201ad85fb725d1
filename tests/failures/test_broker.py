"""Tests that each reading is stored once through every kind of broker failure."""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from deploy.embedded.server_environment import free_port
from ingest_service.pipeline.mqtt_session import PROBE_FILTER
from tests.support import not_tested
from tests.support.mqtt_packets import subscribed_qos, unacknowledged_ids
from tests.support.network_fault_rig import (
    WINDOW,
    WITHIN_S,
    NetworkFaultRig,
    TickDriver,
    run_with_failure,
    wait_for_log,
)
from tests.support.processes import PlatformProcess, running_processes, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deploy.embedded.broker import EmbeddedBroker
    from tests.conftest import StartMosquitto
    from tests.support.throwaway_servers import MosquittoServer

pytestmark = pytest.mark.timeout(120)
TICKS = 400
STALL_S = 2.0  # shorter than any time-out


@pytest.fixture
def rig(timescale_dsn: str, mosquitto: MosquittoServer, tmp_path: Path) -> Iterator[NetworkFaultRig]:
    with NetworkFaultRig(tmp_path, timescale_dsn, mosquitto, ticks=TICKS) as one:
        yield one


def test_gone_for_a_while(rig: NetworkFaultRig) -> None:
    ingest = rig.ingest()
    with running_processes(ingest):
        rig.publish()
        rig.broker_network.refuse()
        wait_for_log(ingest, "broker_lost", times=3)
        rig.broker_network.restore()
        rig.finish()
        assert ingest.stop() == 0
    rig.ledger()


def test_cut_again_and_again(rig: NetworkFaultRig) -> None:
    ingest = rig.ingest()
    with running_processes(ingest):
        rig.publish()
        for number in range(2, 6):
            rig.broker_network.cut()
            wait_for_log(ingest, "subscribed", times=number)
        rig.finish()
        assert ingest.stop() == 0
    rig.ledger()


def test_network_stalled(rig: NetworkFaultRig) -> None:
    """Nothing comes for some seconds, then everything: it is waited for."""

    def fail() -> None:
        rig.broker_network.stall()
        time.sleep(STALL_S)
        rig.broker_network.restore()

    assert "broker_lost" not in run_with_failure(rig, fail).log.read_text()


def test_network_without_an_answer(rig: NetworkFaultRig) -> None:
    """Nothing is closed, nothing comes: the keep-alive gives the connection up."""
    ingest = rig.ingest(TOWNTWIN_INGEST_KEEP_ALIVE_S="2")
    with running_processes(ingest):
        rig.publish()
        rig.broker_network.stall_forever()
        wait_for_log(ingest, "subscribed", times=2)
        rig.finish()
        assert ingest.stop() == 0
    rig.ledger()


def test_frozen_for_longer_than_the_keep_alive(rig: NetworkFaultRig, mosquitto: MosquittoServer) -> None:
    ingest = rig.ingest(TOWNTWIN_INGEST_KEEP_ALIVE_S="2")
    with running_processes(ingest):
        rig.publish()
        os.kill(mosquitto.pid, signal.SIGSTOP)
        wait_for_log(ingest, "broker_lost")
        os.kill(mosquitto.pid, signal.SIGCONT)
        rig.finish()
        assert ingest.stop() == 0
    rig.ledger()


@pytest.mark.parametrize("persistence", [True, False], ids=["with its memory", "without its memory"])
def test_restarted(
    timescale_dsn: str, start_mosquitto: StartMosquitto, tmp_path: Path, *, persistence: bool
) -> None:
    """With persistence it ends in order; without, a kill takes its sessions and all that it held."""
    broker = start_mosquitto(persistence=persistence)
    with NetworkFaultRig(tmp_path, timescale_dsn, broker, ticks=TICKS) as rig:

        def fail() -> None:
            for _ in range(2):
                if persistence:
                    broker.stop()
                else:
                    broker.kill()
                broker.start()
                rig.wait_for_more()

        ingest = run_with_failure(rig, fail)
    assert ("session_present=True" in ingest.log.read_text()) is persistence


def test_session_taken_over_and_won_back(rig: NetworkFaultRig, mosquitto: MosquittoServer) -> None:
    """Somebody comes with the shard's client id and never acknowledges anything."""
    port = free_port()
    ingest = rig.ingest(TOWNTWIN_INGEST_METRICS_PORT=str(port))
    with running_processes(ingest):
        wait_for_log(ingest, "subscribed")
        rig.publish()
        take_over_until_logged(ingest, mosquitto)
        wait_for_log(ingest, "subscribed", times=2)
        rig.finish()
        assert metric(port, "towntwin_ingest_takeovers_total") >= 1
        assert metric(port, "towntwin_ingest_connections_total") >= 2
        assert ingest.stop() == 0
    rig.ledger()
    assert "rename one's --shard" in ingest.log.read_text()


def test_redelivered_after_a_reconnect(
    timescale_dsn: str, mosquitto: MosquittoServer, tmp_path: Path
) -> None:
    """What was not acknowledged comes again and is stored once; each PUBACK answers its own connection's."""
    with NetworkFaultRig(tmp_path, timescale_dsn, mosquitto, ticks=TICKS, receipt_timeout_s=30) as rig:
        connections = rig.broker_network.record()

        def has_whole_window() -> bool:
            return len(unacknowledged_ids(list(connections[-1]))) >= WINDOW

        ingest = rig.ingest()
        with running_processes(ingest):
            rig.publish()
            for number in (2, 3):
                rig.database_network.stall()
                wait_until(has_whole_window, within_s=WITHIN_S, what="a window of messages is with ingest")
                rig.broker_network.cut()
                wait_for_log(ingest, "subscribed", times=number)
                wait_until(has_whole_window, within_s=WITHIN_S, what="the same messages come again")
                rig.database_network.restore()
            # A probe is sent with each heartbeat: not every connection of this test lasts until the next.
            wait_until(lambda: PROBE_FILTER in subscribed_qos(connections[-1]), within_s=30, what="a probe")
            rig.finish()
            assert ingest.stop() == 0
        rig.ledger()
    unacknowledged = [len(unacknowledged_ids(one)) for one in connections]
    assert len(unacknowledged) == 3
    assert min(unacknowledged[:2]) >= WINDOW, "all were on their way when the connection was cut"
    assert unacknowledged[2] == 0
    # RabbitMQ keeps QoS 0 of a session on one node: while it is away, no other can resume the session.
    subscribed = {name: qos for one in connections for name, qos in subscribed_qos(one).items()}
    assert PROBE_FILTER in subscribed
    assert set(subscribed.values()) == {1}


def test_full_inbox_drops_and_reconnects_for_redelivery(
    timescale_dsn: str, mosquitto: MosquittoServer, tmp_path: Path
) -> None:
    fill_the_inbox(timescale_dsn, mosquitto, tmp_path)


def test_broker_that_ignores_receive_maximum(
    timescale_dsn: str, embedded_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    """It sends 100 messages where 10 were allowed: what does not fit is let go, and asked for again."""
    fill_the_inbox(timescale_dsn, embedded_broker, tmp_path, TOWNTWIN_INGEST_RECEIVE_MAXIMUM="10")


def test_what_a_broker_drops_before_ingest_subscribes_is_sent_again_at_once(
    timescale_dsn: str, embedded_broker: EmbeddedBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It acknowledges what nobody is subscribed to; the device has nothing more to send and no time-out."""
    with NetworkFaultRig(tmp_path, timescale_dsn, embedded_broker, ticks=5, receipt_timeout_s=3600) as rig:
        rig.start_device()
        wait_until(lambda: rig.at_broker() == 10, within_s=WITHIN_S, what="the broker acknowledges all")
        ingest = rig.ingest()
        with running_processes(ingest):
            rig.finish()
            assert ingest.stop() == 0
        rig.ledger()
    assert "10 messages without a receipt are sent again" in caplog.text


def fill_the_inbox(dsn: str, broker: Any, folder: Path, **environ: str) -> None:
    """More messages of 20 kB than the inbox holds while the database stalls: the broker sends them again."""
    ticks = TickDriver(float(int(time.time()) - 200_000), 40_000, together=1000)
    small = {
        "TOWNTWIN_INGEST_INBOX_BYTES": str(1 << 20),
        "TOWNTWIN_INGEST_BATCH_BYTES": "60000",
        "TOWNTWIN_INGEST_KEEP_ALIVE_S": "2",
    }
    with NetworkFaultRig(folder, dsn, broker, ticks=ticks, readings_per_s=0, receipt_timeout_s=60) as rig:
        ingest = rig.ingest(**small, **environ)
        with running_processes(ingest):
            wait_for_log(ingest, "subscribed")
            rig.database_network.stall()
            rig.publish(kept=0)
            wait_for_log(ingest, "letting_go")
            rig.database_network.restore()
            wait_for_log(ingest, "asking_again")
            rig.finish()
            assert ingest.stop() == 0
        rig.ledger()


def test_not_authorized_until_mended(
    timescale_dsn: str, start_mosquitto: StartMosquitto, tmp_path: Path
) -> None:
    """The log says what to mend; once it is mended, nobody need start anything again."""
    broker = start_mosquitto(lines=("allow_anonymous false",))
    config = broker.folder / "mosquitto.conf"
    with NetworkFaultRig(tmp_path, timescale_dsn, broker, ticks=TICKS) as rig:
        ingest = rig.ingest()
        with running_processes(ingest):
            wait_for_log(ingest, "broker_refused", times=2)
            assert "mend the user name and password in TOWNTWIN_BROKER" in ingest.log.read_text()
            config.write_text(config.read_text().replace("allow_anonymous false", ""))
            os.kill(broker.pid, signal.SIGHUP)
            rig.publish()
            rig.finish()
            assert ingest.stop() == 0
        rig.ledger()


def test_subscription_refused_until_mended(
    timescale_dsn: str, mosquitto: MosquittoServer, tmp_path: Path
) -> None:
    """The connection stays, and the topics are asked for again and again."""
    with NetworkFaultRig(tmp_path, timescale_dsn, mosquitto, ticks=TICKS) as rig:
        usual = refuse_subscriptions(mosquitto)
        ingest = rig.ingest()
        with running_processes(ingest):
            wait_for_log(ingest, "subscription_refused", times=2)
            assert ingest.log.read_text().count("broker_connected") == 1
            restart(mosquitto, usual)
            rig.publish()
            rig.finish()
            assert ingest.stop() == 0
        rig.ledger()


def refuse_subscriptions(broker: MosquittoServer) -> str:
    """Start the broker anew with an access list that allows no subscription; its usual configuration."""
    first_client = broker.installation
    plugin = next(iter(first_client.root.glob("usr/lib/**/mosquitto_dynamic_security.so")), None)
    if plugin is None:
        not_tested.skip("a refused subscription: this Mosquitto has no dynamic security")
    access = broker.folder / "access.json"
    access.write_text('{"defaultACLAccess": {"publishClientSend": true, "subscribe": false}}')
    access.chmod(0o600)
    os.chown(access, *first_client.owner(broker.user))
    usual = (broker.folder / "mosquitto.conf").read_text()
    restart(
        broker,
        f"{usual}plugin {first_client.inside(plugin)}\nplugin_opt_config_file "
        f"{first_client.inside(access)}\n",
    )
    return usual


def restart(broker: MosquittoServer, config: str) -> None:
    """Start the broker anew with another configuration."""
    broker.stop()
    (broker.folder / "mosquitto.conf").write_text(config)
    broker.start()


def take_over_until_logged(ingest: PlatformProcess, broker: MosquittoServer) -> None:
    """Take the session until ingest logs the broker's reason.

    TCP throws away what a reset connection has not read: where ingest writes an acknowledgement
    just as the broker closes, the broker's DISCONNECT is lost with its reason, and all that ingest
    can log is a lost connection.
    """
    for taken in range(1, 11):
        second_client = connect_as("towntwin-ingest-main", broker)
        try:
            wait_for_log(ingest, "broker_connected", times=taken + 1)
        finally:
            second_client.loop_stop()
        if "broker_disconnected" in ingest.log.read_text():
            return
    raise AssertionError("ten takeovers, and none was logged with the broker's reason")


def connect_as(client_id: str, broker: MosquittoServer) -> Client:
    """A client that takes messages and keeps silent; once kicked it does not come back."""
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=MQTTProtocolVersion.MQTTv5,
        manual_ack=True,
        reconnect_on_failure=False,
    )
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 3600
    client.connect(broker.host, broker.port, clean_start=False, properties=properties)
    client.loop_start()
    return client


def metric(port: int, name: str) -> float:
    """One number of a process's metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))
