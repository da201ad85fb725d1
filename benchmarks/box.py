"""Measures what a town's box needs: memory and idle CPU of every process, and disk a year.

All processes run as on a town's box, on the TimescaleDB and the Mosquitto of ``towntwin up --timescaledb``:
ingest, service, gateway with its heavy worker, HJ 212 server, access, broker and database. 200 series of 50
devices have one reading in five minutes; the devices publish in turn. Once three hours of readings are stored
and judged, and each kind of page was requested once, the processes run for `IDLE_S` seconds, in which the
CPU time is counted.

The memory is the resident set (RSS), in which pages that several processes share are counted in each, the
proportional set (PSS), whose sum is that of the machine, and what is no page of a file (own). Prints a table,
and last one JSON line.
``TOWNTWIN_BENCH_SERIES`` changes the number of series.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from benchmarks._box_disk import SERIES, measure_disk
from benchmarks._box_platform import AREA, DEVICES, QUANTITIES, STEP_S, Box
from benchmarks._mqtt_load import record
from deploy.debian_servers.mosquitto import PLATFORM, DebianMosquitto
from edge.wire import senml
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from benchmarks._box_memory import ProcessUse

HISTORY_S = 3 * 3600
IDLE_S = float(os.environ.get("TOWNTWIN_BENCH_IDLE_S", "60"))
SETTLE_S = 20.0
READY_S = 120.0
PAGES = (
    "/v1/areas",
    "/v1/sites",
    "/v1/series",
    "/v1/anomalies",
    "/v1/incidents",
    "/v1/health",
    "/v1/readings?series=1",
    "/v1/readings?series=1&format=parquet",
    "/",
)


class Devices:
    """Publishes for all devices; each has a reading of every quantity at each step."""

    def __init__(self, broker: DebianMosquitto) -> None:
        self._noise = np.random.default_rng(1)
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.username_pw_set(PLATFORM, broker.password_file(PLATFORM).read_text().strip())
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()

    def publish(self, device: int, time_s: float) -> None:
        """Publish one message with the device's readings at ``time_s``."""
        pack = [record(one, time_s, self._noise.normal(1, 0.01)) for one in QUANTITIES]
        topic = f"towntwin/v1/{AREA}/box-{device:03}/data"
        self._client.publish(topic, senml.encode_json(pack), qos=1).wait_for_publish(READY_S)

    def publish_in_turn(self, seconds: float) -> None:
        """Publish as all devices do for a time: each once in `STEP_S`."""
        began_s = time.monotonic()
        for number in range(int(seconds / STEP_S * DEVICES)):
            time.sleep(max(0.0, began_s + number * STEP_S / DEVICES - time.monotonic()))
            self.publish(number % DEVICES, time.time())
        time.sleep(max(0.0, began_s + seconds - time.monotonic()))

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


def run_box(folder: Path) -> tuple[list[ProcessUse], list[ProcessUse]]:
    """Run the box; return the use of each process before and after `IDLE_S`."""
    with Box(folder) as box:
        address = httpx.Client(
            base_url=f"http://127.0.0.1:{box.port}",
            headers={"Authorization": f"Bearer {box.key}"},
            timeout=30.0,
        )
        wait_until(lambda: _is_ready(address), within_s=READY_S, what="the gateway is ready")
        devices = Devices(box.broker)
        now_s = time.time()
        for begin_s in np.arange(now_s - HISTORY_S, now_s - STEP_S, STEP_S).tolist():
            for device in range(DEVICES):
                devices.publish(device, begin_s)
        published = len(range(int(HISTORY_S / STEP_S) - 1)) * DEVICES * len(QUANTITIES)
        wait_until(lambda: box.store.health().readings >= published, within_s=READY_S, what="all is stored")
        ingest = box.processes[0].log
        wait_until(lambda: "judge_loaded" in ingest.read_text(), within_s=READY_S, what="the judge is loaded")
        for page in PAGES:
            assert address.get(page, follow_redirects=True).is_success, page
        devices.publish_in_turn(SETTLE_S)
        before = box.measure()
        devices.publish_in_turn(IDLE_S)
        after = box.measure()
        devices.close()
        assert all(one.process.poll() is None for one in box.processes), "a process ended"
        return before, after


def _is_ready(address: httpx.Client) -> bool:
    try:
        return address.get("/readyz").is_success
    except httpx.HTTPError:
        return False


def main() -> None:
    """Run the box and print its needs."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = run_box(Path(folder))
    disk = measure_disk()
    print(f"{4 * DEVICES} series, one reading in {STEP_S // 60} min, Python {sys.version.split()[0]}")
    print(f"{'process':14}{'count':>6}{'RSS':>12}{'PSS':>12}{'own':>12}{'CPU, idle':>16}")
    shares = {}
    for old, new in zip(before, after, strict=True):
        shares[new.name] = (new.cpu_s - old.cpu_s) / IDLE_S
        print(
            f"{new.name:14}{new.count:>6}{new.rss_mb:>9.0f} MB{new.pss_mb:>9.0f} MB{new.own_mb:>9.0f} MB"
            f"{shares[new.name]:>9.1%} a core"
        )
    for table, size in disk.bytes_a_reading.items():
        print(f"disk, {table}: {size:.1f} bytes a reading")
    compressed = "not measured" if disk.compressed_bytes is None else f"{disk.compressed_bytes:.1f}"
    print(f"disk, reading compressed (Community edition): {compressed} bytes a reading")
    print(f"disk of a year of {SERIES} series: {disk.year_gb:.2f} GB")
    if disk.compressed_year_gb is not None:
        print(f"disk of a year with readings compressed: {disk.compressed_year_gb:.2f} GB")
    line = {
        "series": 4 * DEVICES,
        "rss_mb": {one.name: round(one.rss_mb) for one in after},
        "pss_mb": {one.name: round(one.pss_mb) for one in after},
        "own_mb": {one.name: round(one.own_mb) for one in after},
        "idle_share": {name: round(share, 4) for name, share in shares.items()},
        "disk_year_gb": round(disk.year_gb, 2),
        "disk_year_compressed_gb": disk.compressed_year_gb and round(disk.compressed_year_gb, 2),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
