"""Measures the edge agent: resident memory, drain rate with fsync on, kills, and an outage of the platform.

The agent drains a spool of 100,000 readings, 50 in a message, to a real Mosquitto; a minimal subscriber sends
a receipt for each message. The agent runs in an environment with the extra ``edge`` only. The baseline in the
same run, alternating, is a bare paho publisher with QoS 1 and the same messages, without spool and receipts.
With ``kills`` it runs the long form of tests/acceptance/test_agent_kills.py, with ``outage`` what a town of
40 devices sends while its ingest is away for an hour, in simulated time. Prints JSON lines.
"""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from benchmarks._mqtt_load import servers
from edge.agent.settings import Settings
from edge.agent.spool import Spool, SpoolEntry
from edge.wire import receipts, senml
from edge.wire.senml import Record
from tests.support.agent_kills import run_agent_kills
from tests.support.bare_environments import BareEnvironment, build_wheel
from tests.support.throwaway_servers import fresh_database
from tests.support.town_outage import town_cost

if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessage

MESSAGES, PACK_READINGS, REPEATS = 2000, 50, 3
KILL_READINGS, KILLS, RESTARTS = 100_000, 200, 20
DATA, RECEIPT = "towntwin/v1/a/d/data", "towntwin/v1/a/d/receipt"
TIMEOUT_S = 300.0


def main() -> None:
    """Run the benchmark."""
    if "outage" in sys.argv:
        for is_held, before_s in itertools.product((True, False), (0.0, 600.0, 86_400.0)):
            cost = town_cost(before_s=before_s, is_held=is_held)
            result = {"broker_holds": is_held, "ran_before_s": before_s, **cost._asdict()}
            print(json.dumps({**result, "surplus": round(cost.surplus, 4)}))
        return
    with servers() as (postgres, mosquitto), tempfile.TemporaryDirectory() as folder:
        if "kills" in sys.argv:
            with fresh_database(postgres) as dsn:
                result = run_agent_kills(
                    dsn,
                    mosquitto,
                    Path(folder),
                    readings=KILL_READINGS,
                    agent_kills=KILLS,
                    broker_restarts=RESTARTS,
                )
            print(json.dumps(result._asdict()))
            return
        wheel = build_wheel(Path(folder) / "wheel")
        environment = BareEnvironment(Path(folder) / "venv", wheel, "edge")
        agent, bare, memory = list[float](), list[float](), list[float]()
        for repeat in range(REPEATS):
            seconds, resident_mb = drain(environment.python, mosquitto, Path(folder) / f"spool{repeat}")
            agent.append(MESSAGES * PACK_READINGS / seconds)
            memory.append(resident_mb)
            bare.append(MESSAGES * PACK_READINGS / publish_bare(mosquitto))
        print(
            json.dumps(
                {
                    "agent_readings_per_s": round(statistics.median(agent)),
                    "bare_paho_readings_per_s": round(statistics.median(bare)),
                    "agent_peak_resident_mb": round(max(memory), 1),
                }
            )
        )


def payload(number: int) -> bytes:
    """Encode one message of `PACK_READINGS` readings."""
    first_s = 1.79e9 + number * PACK_READINGS
    return senml.encode_json(
        Record(name="ph", time_s=first_s + one, value=7.0 + one / 100, unit="pH")
        for one in range(PACK_READINGS)
    )


def drain(python: Path, broker: Any, path: Path) -> tuple[float, float]:
    """Fill a spool and run `towntwin edge` on it; return the time [s] and the peak of the memory [MB]."""
    # The peak is the process' own: VmHWM of /proc, with PACK_READINGS in each message.
    spool = Spool.open(path, Settings())
    for first in range(0, MESSAGES, 64):
        numbers = range(first, min(first + 64, MESSAGES))
        spool.put([SpoolEntry(payload(one), PACK_READINGS) for one in numbers])
    spool.close()
    began, ended, received = list[float](), threading.Event(), set[int]()

    def on_message(client: Client, _userdata: object, message: MQTTMessage) -> None:
        began.append(time.perf_counter())
        position = receipts.position_of(getattr(message.properties, "UserProperty", []))
        if position is None:
            return
        received.add(position.number)
        (receipt,) = receipts.receipts_for([position])
        client.publish(RECEIPT, receipts.encode_receipt(receipt), qos=1)
        if len(received) == MESSAGES:
            ended.set()

    platform = connected_client(broker, on_message)
    options = ["--area", "a", "--device", "d", "--spool", str(path), "--broker", broker.url]
    command = [str(python), "-I", "-m", "deploy", "edge", *options, "--backlog-readings-per-s", "0"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        if not ended.wait(TIMEOUT_S):
            process.kill()
            raise SystemExit(f"only {len(received)} of {MESSAGES} messages arrived")
        seconds = time.perf_counter() - began[0]
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert process.stdin is not None
        process.stdin.close()
        process.wait(TIMEOUT_S)
    platform.disconnect()
    platform.loop_stop()
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return seconds, peak_kb / 1024


def publish_bare(broker: Any) -> float:
    """Publish the same messages by paho alone, with QoS 1; return the time until the last PUBACK [s]."""
    payloads = [payload(one) for one in range(MESSAGES)]
    platform = connected_client(broker, lambda *_: None)
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.max_inflight_messages_set(Settings().window)
    client.connect(broker.host, broker.port)
    client.loop_start()
    began_s = time.perf_counter()
    for info in [client.publish(DATA, one, qos=1) for one in payloads]:
        info.wait_for_publish(TIMEOUT_S)
    seconds = time.perf_counter() - began_s
    for one in (client, platform):
        one.disconnect()
        one.loop_stop()
    return seconds


def connected_client(broker: Any, on_message: Any) -> Client:
    """Return a client that is subscribed to the data of the device."""
    subscribed = threading.Event()
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.on_message = on_message
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect(broker.host, broker.port)
    client.loop_start()
    client.subscribe(DATA, qos=1)
    if not subscribed.wait(TIMEOUT_S):
        raise SystemExit("the broker does not take the subscription")
    return client
