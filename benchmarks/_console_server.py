"""Serves the console over a store in memory with many sites, until its input ends."""

from __future__ import annotations

import importlib.util
import sys
import threading
import time

import numpy as np
import uvicorn

from gateway.auth import api_keys
from gateway.auth.principal import Role
from gateway.settings import Settings
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import (
    READING,
    Anomaly,
    Area,
    Channel,
    Device,
    Directory,
    Link,
    Node,
    Series,
    Site,
)
from ingest_service.storage.memory.store import MemoryStore
from tests.support.gateway_access import ACCOUNTS, gateway_app
from tests.support.process_heartbeats import alive

N_ANOMALIES = 30
INTERVAL_S = 300
HISTORY_S = 2 * 86_400
PUSH_EVERY_S = 2.0  # a new reading and a changed anomaly, so that the pages have something to show


def main() -> None:
    """Serve on a port with a number of sites and of keys, which are printed."""
    port, n_sites, n_keys = (int(one) for one in sys.argv[1:4])
    store = MemoryStore()
    store.enrol(_directory(n_sites))
    _commit_history(store)
    _record_anomalies(store, severity=2)
    keys = [
        api_keys.create_key(ACCOUNTS, name=f"client {one}", role=Role.VIEWER, created_by="benchmark")[1]
        for one in range(n_keys)
    ]
    settings = Settings(requests_per_s=1e6, requests_burst=1_000_000)
    with alive(store, every_s=0.5):
        app = gateway_app(store, console=True, settings=settings)
        has_sockets = importlib.util.find_spec("websockets") is not None  # comes with NiceGUI
        ws = "websockets-sansio" if has_sockets else "none"
        server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, ws=ws))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            if not thread.is_alive():
                sys.exit("the console did not start")
            time.sleep(0.05)
        print(" ".join(keys), flush=True)
        threading.Thread(target=_change_forever, args=(store,), daemon=True).start()
        sys.stdin.read()
        server.should_exit = True


def _directory(n_sites: int) -> Directory:
    sites = [
        Site(
            site_id=f"s{at}", area_id="t", kind="river_section", en=f"Section {at}", zh=f"{at}号断面",
            lon=120.5 + (at % 25) * 0.01, lat=30.6 + (at // 25) * 0.01,
        )
        for at in range(n_sites)
    ]  # fmt: skip
    nodes = [
        Node(
            node_id=one.site_id, network="river", area_id="t", kind="section", en=one.en, zh=one.zh,
            lon=one.lon, lat=one.lat, site_id=one.site_id,
        )
        for one in sites
    ]  # fmt: skip
    links = [
        Link(
            link_id=f"l{at}", network="river", from_node=f"s{at}", to_node=f"s{at + 1}", en=f"Reach {at}",
            zh=f"{at}号河段", length_m=900, speed_m_s=0.3,
        )
        for at in range(n_sites - 1)
        if (at + 1) % 25
    ]  # fmt: skip
    return Directory(
        areas=[Area(area_id="t", level="town", en="Town", zh="镇")],
        sites=sites,
        devices=[Device(device_id=f"d{at}", area_id="t") for at in range(n_sites)],
        series=[Series(site_id=one.site_id, quantity="water_level", interval_s=INTERVAL_S) for one in sites],
        channels=[
            Channel(device_id=f"d{at}", name="water_level", site_id=f"s{at}", quantity="water_level")
            for at in range(n_sites)
        ],
        nodes=nodes,
        links=links,
    )


def _commit_history(store: MemoryStore) -> None:
    """Commit two days of the first series, and the newest reading of all."""
    now_s = time.time()
    times_s = np.arange(now_s - HISTORY_S, now_s, INTERVAL_S)
    series_ids = [one.series_id for one in store.directory().series]
    rows = np.zeros(len(times_s) + len(series_ids) - 1, READING)
    rows["series_id"] = [series_ids[0]] * len(times_s) + series_ids[1:]
    rows["time_us"] = np.concatenate([times_s, np.full(len(series_ids) - 1, now_s)]) * 1e6
    rows["received_us"] = rows["time_us"]
    rows["value"] = 1.5 + 0.2 * np.sin(rows["time_us"] / 1e6 / 7000)
    rows["expected"], rows["spread"], rows["quality"] = 1.5, 0.1, 1
    _commit(store, rows)


def _commit(store: MemoryStore, rows: np.ndarray) -> None:
    with store.shard("benchmark") as lease:
        assert lease is not None
        store.commit(Batch(fresh=rows, dead_letters=[], epoch=lease.epoch))


def _record_anomalies(store: MemoryStore, *, severity: int) -> None:
    known = store.directory().series
    store.record_anomalies(
        [
            Anomaly(
                subject=f"series/{one.series_id}", site_id=one.site_id, series_id=one.series_id,
                detector="residual", version="1", start_s=time.time() // 86_400 * 86_400 - 3600.0 * at,
                peak_s=time.time(), score=30, severity=severity, n_readings=3, state="open",
                reason_en="far above what is expected", reason_zh="明显高于预期",
            )
            for at, one in enumerate(known[:N_ANOMALIES])
        ]
    )  # fmt: skip


def _change_forever(store: MemoryStore) -> None:
    severity = 2
    series_ids = [one.series_id for one in store.directory().series]
    while True:
        time.sleep(PUSH_EVERY_S)
        severity = 5 - severity
        _record_anomalies(store, severity=severity)
        row = np.zeros(1, READING)
        row["series_id"], row["value"], row["expected"], row["spread"] = series_ids[1], 1.6, 1.5, 0.1
        row["time_us"] = row["received_us"] = round(time.time() * 1e6)
        row["quality"] = 1
        _commit(store, row)


if __name__ == "__main__":
    main()
