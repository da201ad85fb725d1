"""Measures the latency from publish to receipt and to the anomaly in the live stream, under steady load."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import httpx
import numpy as np
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from benchmarks._ingest_process import IngestProcess
from benchmarks._mqtt_load import DEVICES, QUANTITIES, WIRE, client, data_topic, record
from deploy.embedded.server_environment import free_port
from edge.wire import receipts, senml
from edge.wire.receipts import SpoolPosition
from edge.wire.senml import Record
from gateway.auth import api_keys
from gateway.auth.principal import Role
from ingest_service.storage.postgres.api_keys import ApiKeyStore
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.processes import PlatformProcess, running_processes

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

READINGS_PER_S = 5_000
PER_MESSAGE = 20
DURATION_S = 30.0
FAULT_EVERY = 41  # messages; coprime with the devices, so that each fault is at another device
SETTLE_S = 3.0
IMPOSSIBLE = 1e6  # in any unit


class LatencyQuantiles(NamedTuple):
    """Quantiles of the latency from publish to commit and to the anomaly [s]."""

    commit_p50: float
    commit_p99: float
    anomaly_p50: float
    anomaly_p99: float


class _SteadyPublisher:
    """Publishes at a steady rate from this process and records when its receipts arrive."""

    def __init__(self, port: int) -> None:
        self.sent_s: dict[int, float] = {}
        self.receipt_at_s: dict[int, float] = {}
        self.faults: dict[tuple[str, float], float] = {}  # (site, measured) -> published [s]
        self._client = client()
        self._client.on_message = self._on_receipt
        self._client.connect("127.0.0.1", port)
        self._client.subscribe("towntwin/v1/+/+/receipt", qos=1)
        self._client.loop_start()

    def run(self) -> None:
        """Publish for `DURATION_S`, then wait for the last receipts."""
        period_s = PER_MESSAGE / READINGS_PER_S
        begin_s, number = time.time(), 0
        while (due_s := begin_s + number * period_s) < begin_s + DURATION_S:
            time.sleep(max(0.0, due_s - time.time()))
            number += 1
            self._send(number)
        time.sleep(SETTLE_S)
        self._client.disconnect()
        self._client.loop_stop()

    def _send(self, number: int) -> None:
        device = number % DEVICES
        now_s = time.time()
        times = [round(now_s - 0.05 + 0.01 * i, 3) for i in range(PER_MESSAGE // len(QUANTITIES))]
        pack = [record(quantity, one, 1.0 + 0.001 * (number % 7)) for one in times for quantity in QUANTITIES]
        if number % FAULT_EVERY == 0:
            quantity_index = number // FAULT_EVERY // DEVICES % len(QUANTITIES)
            pack[quantity_index] = Record(
                name=QUANTITIES[quantity_index],
                time_s=times[0],
                value=IMPOSSIBLE,
                unit=WIRE[QUANTITIES[quantity_index]][0],
            )
            self.faults[f"bench-{device:02}", times[0]] = now_s
        properties = Properties(PacketTypes.PUBLISH)
        properties.UserProperty = receipts.properties_of(SpoolPosition("bench", number))
        self.sent_s[number] = time.time()
        self._client.publish(data_topic(device), senml.encode_json(pack), qos=1, properties=properties)

    def _on_receipt(self, _client: Any, _userdata: Any, message: Any) -> None:
        now_s = time.time()
        for first, last in receipts.decode_receipt(message.payload).kept:
            for number in range(first, last + 1):
                self.receipt_at_s.setdefault(number, now_s)


def _note_live_anomalies(
    url: str, headers: dict[str, str], live_at_s: dict[tuple[str, float], float], ready: threading.Event
) -> None:
    """Record when anomalies arrive in the live stream, by site and start."""
    with (
        suppress(httpx.RemoteProtocolError),  # the gateway ends first
        httpx.stream("GET", f"{url}/v1/live", timeout=httpx.Timeout(60), headers=headers) as stream,
    ):
        ready.set()
        for line in stream.iter_lines():
            if line.startswith("data: ") and '"anomaly_id"' in line:
                body = json.loads(line.removeprefix("data: "))
                start_s = round(datetime.fromisoformat(body["start"]).timestamp(), 3)
                live_at_s.setdefault((body["site_id"], start_s), time.time())


def measure_latency(dsn: str, port: int, logs: Path) -> LatencyQuantiles:
    """Measure both latencies at 5,000 readings/s; every message must get its receipt."""
    http = free_port()
    gateway = PlatformProcess("gateway", "--port", str(http), log=logs / "gateway.log", TOWNTWIN_DSN=dsn)
    ingest = IngestProcess(dsn, port, logs / "e.log")
    live_at_s: dict[tuple[str, float], float] = {}
    with ingest.running(), running_processes(gateway):
        url = f"http://127.0.0.1:{http}"
        while not _answers(url):
            time.sleep(0.2)
        ready = threading.Event()
        threading.Thread(
            target=_note_live_anomalies, args=(url, api_key_headers(dsn), live_at_s, ready), daemon=True
        ).start()
        assert ready.wait(30)
        time.sleep(1)
        device = _SteadyPublisher(port)
        device.run()
        gateway.kill()
    assert device.receipt_at_s.keys() == device.sent_s.keys(), "every message must be kept"
    commits = np.array([device.receipt_at_s[number] - device.sent_s[number] for number in device.sent_s])
    found = [live_at_s[fault] - sent for fault, sent in device.faults.items() if fault in live_at_s]
    assert len(found) > len(device.faults) / 2, f"{len(found)} of {len(device.faults)} faults were seen"
    return LatencyQuantiles(*np.quantile(commits, [0.5, 0.99]), *np.quantile(found, [0.5, 0.99]))


def api_key_headers(dsn: str, area_id: str | None = None) -> dict[str, str]:
    """Create an API key for an area, or for all, and return the header with it."""
    store = PostgresStore.open(dsn)
    _, key = api_keys.create_key(
        ApiKeyStore(store), name="bench", role=Role.VIEWER, created_by="bench", area_id=area_id
    )
    store.close()
    return {"X-API-Key": key}


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
