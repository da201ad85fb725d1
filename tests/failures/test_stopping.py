"""Tests a graceful stop: pending readings are committed if possible, otherwise sent again; none is lost."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from deploy.command_resources import EXIT_INTERRUPTED
from tests.support.mqtt_packets import unacknowledged_ids
from tests.support.mqtt_test_device import MqttTestDevice, pack
from tests.support.network_fault_rig import WINDOW, NetworkFaultRig, superuser_connection, wait_for_log
from tests.support.processes import STOP_S, running_processes, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.processes import PlatformProcess
    from tests.support.throwaway_servers import MosquittoServer

pytestmark = pytest.mark.timeout(120)
SHORT = {"TOWNTWIN_INGEST_STOP_GRACE_S": "1"}
TOPIC = "towntwin/v1/330483-d1/d1/data"


@pytest.fixture
def rig(timescale_dsn: str, mosquitto: MosquittoServer, tmp_path: Path) -> Iterator[NetworkFaultRig]:
    with NetworkFaultRig(tmp_path, timescale_dsn, mosquitto, ticks=400, receipt_timeout_s=4) as one:
        yield one


def end(ingest: PlatformProcess, *, signals: int = 1) -> int:
    """The exit code after so many signals."""
    for _ in range(signals):
        ingest.process.send_signal(signal.SIGTERM)
        wait_for_log(ingest, "stopping")
    return ingest.process.wait(STOP_S)


def finish_with_another(rig: NetworkFaultRig) -> None:
    """The next process takes what the one before did not."""
    rig.database_network.restore()
    ingest = rig.ingest("next")
    with running_processes(ingest):
        rig.finish()
        assert ingest.stop() == 0
    rig.ledger()


def test_what_is_held_is_committed_within_the_grace(rig: NetworkFaultRig) -> None:
    ingest = rig.ingest(TOWNTWIN_INGEST_BATCH_MESSAGES="10")
    connections = rig.broker_network.record()
    with running_processes(ingest):
        rig.publish()
        (connection,) = connections
        rig.database_network.stall()
        wait_until(
            lambda: rig.at_broker() == WINDOW <= len(unacknowledged_ids(list(connection))),
            within_s=STOP_S,
            what="the device's whole window is with ingest",
        )
        before = rig.receipted()
        ingest.process.send_signal(signal.SIGTERM)
        wait_for_log(ingest, "stopping")
        rig.database_network.restore()
        assert ingest.process.wait(STOP_S) == 0
    assert len(rig.stored()) >= before + WINDOW
    assert "grace_over" not in ingest.log.read_text()
    finish_with_another(rig)


def test_a_second_signal_ends_it_at_once(rig: NetworkFaultRig) -> None:
    ingest = rig.ingest(TOWNTWIN_INGEST_STOP_GRACE_S=str(STOP_S))
    with running_processes(ingest):
        rig.publish()
        rig.database_network.stall()
        assert end(ingest, signals=2) == EXIT_INTERRUPTED
    finish_with_another(rig)


def test_the_database_is_away_longer_than_the_grace(rig: NetworkFaultRig) -> None:
    ingest = rig.ingest(**SHORT)
    with running_processes(ingest):
        rig.publish()
        rig.database_network.refuse()
        wait_for_log(ingest, "error connecting")
        assert end(ingest) == 0
    finish_with_another(rig)


def test_the_database_does_not_answer_within_the_grace(rig: NetworkFaultRig) -> None:
    ingest = rig.ingest(**SHORT)
    with running_processes(ingest):
        rig.publish()
        rig.database_network.stall()
        assert end(ingest) == 0
    assert "grace_over" in ingest.log.read_text()
    finish_with_another(rig)


def test_the_broker_does_not_answer(rig: NetworkFaultRig, mosquitto: MosquittoServer) -> None:
    ingest = rig.ingest(**SHORT)
    with running_processes(ingest):
        rig.publish()
        os.kill(mosquitto.pid, signal.SIGSTOP)
        assert end(ingest) == 0
        os.kill(mosquitto.pid, signal.SIGCONT)
    finish_with_another(rig)


def test_the_database_was_never_there(rig: NetworkFaultRig) -> None:
    rig.database_network.refuse()
    ingest = rig.ingest()
    with running_processes(ingest):
        wait_for_log(ingest, "database_away")
        assert end(ingest) == 0


def test_logs_are_objects_with_plain_keys_and_without_payload(
    rig: NetworkFaultRig, mosquitto: MosquittoServer
) -> None:
    """Through bad payloads, conflicts, refused and poisoned readings, cuts and the stop."""
    marks = {
        "bad": "marked-payload",
        "name": "marked-name",
        "values": ["7.1357911", "7.2468135", "7.9753197"],
    }
    with superuser_connection(rig.dsn) as connection:
        connection.execute(f"ALTER TABLE latest ADD CONSTRAINT poison CHECK (value <> {marks['values'][2]})")
    ingest = rig.ingest(TOWNTWIN_LOG_FORMAT="json")
    with running_processes(ingest), MqttTestDevice(mosquitto, TOPIC) as device:
        rig.publish()
        at_s = rig.ticks.start_s - 1000
        first, second, poison = (float(value) for value in marks["values"])
        device.send(f"{marks['bad']}".encode())
        device.send(pack(str(marks["name"]), "pH", {at_s: first}))
        device.send(pack("ph", "pH", {at_s: first}))
        device.send(pack("ph", "pH", {at_s: second}))
        device.send(pack("ph", "pH", {time.time(): poison}))
        for words in ('"reason": "payload"', '"conflicts"', '"message_refused"'):
            wait_for_log(ingest, words)
        rig.database_network.refuse()
        rig.broker_network.cut()
        wait_for_log(ingest, "error connecting")
        rig.database_network.restore()
        rig.finish()
        assert ingest.stop() == 0
    text = ingest.log.read_text()
    lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    assert {"stopping", "dead_letter", "broker_lost"} <= {line["event"] for line in lines}
    for line in lines:
        assert {"event", "level", "timestamp"} <= line.keys()
        assert [key for key in line if not re.fullmatch(r"[a-z][a-z0-9_]*", key)] == []
    assert [mark for mark in ("marked", *marks["values"]) if mark in text] == []
