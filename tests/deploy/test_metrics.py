"""Tests that the metrics page matches the code and that an ingest process's metrics match what happened."""

from __future__ import annotations

import math
import re
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import psycopg
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from analytics.service import process as service_process
from deploy.embedded.server_environment import free_port
from edge.wire.status import StatusMessage
from gateway import metrics as gateway_metrics
from gateway.hj212 import metrics as hj212_metrics
from ingest_service.federation import metrics as federation_metrics
from ingest_service.pipeline import metrics
from ingest_service.storage.contract.models import DeadLetterQuery
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.mqtt_test_device import MqttTestDevice, pack
from tests.support.processes import REPOSITORY, PlatformProcess, running_processes, wait_until
from tests.support.store_samples import DIRECTORY
from tests.support.tcp_proxy import Proxy

if TYPE_CHECKING:
    from pathlib import Path

WITHIN_S = 60.0
DATA = "towntwin/v1/330483-d1/d1/data"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| (.+) \| (.+\.) \|$", re.MULTILINE)
NAMED = {metrics, service_process, gateway_metrics, hj212_metrics, federation_metrics}  # what registers them


def known() -> dict[str, tuple[str, str]]:
    """Type and sentence of every metric of ours, by name."""
    families = [one for one in REGISTRY.collect() if one.name.startswith("towntwin_")]
    return {
        one.name + ("_total" if one.type == "counter" else ""): (one.type, one.documentation)
        for one in families
    }


def test_the_page_is_what_the_code_has() -> None:
    page = (REPOSITORY / "docs/metrics.md").read_text()
    assert {name: (kind, says) for name, kind, says, _ in ROW.findall(page)} == known()


class Scraped:
    """What Prometheus would read from a process."""

    def __init__(self) -> None:
        self.port = free_port()
        self.asked: set[str] = set()

    def __call__(self, name: str, **labels: str) -> float:
        """A sample, or NaN where there is none."""
        self.asked.add(f"towntwin_ingest_{name}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
                text = answer.read().decode()
        except OSError:
            return float("nan")
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if (sample.name, sample.labels) == (f"towntwin_ingest_{name}", labels):
                    return sample.value
        return float("nan")

    def reaches(self, wanted: float, name: str, **labels: str) -> None:
        """Wait until a sample is so large."""
        wait_until(
            lambda: self(name, **labels) >= wanted, within_s=WITHIN_S, what=f"{name} {labels} {wanted}"
        )


def take_over(broker: Any) -> None:
    """Another client with the ingest process' id; it leaves at once."""
    other = Client(
        CallbackAPIVersion.VERSION2, client_id="towntwin-ingest-main", protocol=MQTTProtocolVersion.MQTTv5
    )
    other.connect(broker.host, broker.port, clean_start=False)
    while not other.is_connected():
        other.loop()
    other.disconnect()
    other.loop()


def test_every_metric_of_ingest_shows_what_happened(
    timescale_dsn: str, mosquitto: Any, tmp_path: Path
) -> None:
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn)
    store.enrol(DIRECTORY)
    with psycopg.connect(timescale_dsn) as connection:
        connection.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            "  IF NEW.value = 66.5 THEN RAISE 'poisoned'; END IF; RETURN NEW; END $$;"
            "CREATE TRIGGER refuse BEFORE INSERT ON reading FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    address = conninfo_to_dict(timescale_dsn)
    network = Proxy(str(address["host"]), int(str(address["port"])))
    shown, standby = Scraped(), Scraped()
    first, second = (
        PlatformProcess(
            "ingest",
            log=tmp_path / f"{one.port}.log",
            TOWNTWIN_DSN=make_conninfo(timescale_dsn, host=network.host, port=network.port),
            TOWNTWIN_BROKER=mosquitto.url,
            TOWNTWIN_INGEST_METRICS_PORT=str(one.port),
            TOWNTWIN_INGEST_DISK_FOLDER=str(tmp_path),
        )
        for one in (shown, standby)
    )
    start_s = float(int(time.time()) - 3600)

    with running_processes(first), MqttTestDevice(mosquitto, DATA) as device:
        wait_until(
            lambda: all(event in first.log.read_text() for event in ("subscribed", "ingest_started")),
            within_s=WITHIN_S,
            what="ingest is ready",
        )
        assert (shown("shard_owner"), shown("shard_epoch"), shown("broker_connected")) == (1, 1, 1)
        shown.reaches(1, "database_disk_free_bytes")

        for number in range(100):
            device.send(pack("ph", "pH", {start_s + 10 * number: 7.5, start_s + 10 * number + 1: 7.6}))
        shown.reaches(200, "readings_total", kind="fresh")
        device.send(pack("ph", "pH", {start_s: 7.5}))
        shown.reaches(1, "readings_total", kind="repeated")
        device.send(pack("ph", "pH", {start_s + 5: 7.5}))
        shown.reaches(1, "readings_total", kind="late")
        device.send(pack("ph", "pH", {start_s: 7.9}))
        shown.reaches(1, "dead_letters_total", reason="conflict")
        assert shown("readings_total", kind="conflict") == 1
        device.send(b"hello")
        shown.reaches(1, "dead_letters_total", reason="payload")
        device.send(pack("ph", "pH", {start_s + 2000: 13.9}))
        shown.reaches(1, "anomalies_total")
        device.send(pack("turb", "NTU", {start_s: 66.5}))
        shown.reaches(1, "dead_letters_total", reason="store")
        assert shown("splits_total") == 1

        with psycopg.connect(timescale_dsn) as connection:
            connection.execute("DROP TRIGGER refuse ON reading")
        assert store.request_replay(DeadLetterQuery(reason="store")) == 1
        shown.reaches(1, "letters_replayed_total")

        network.refuse()
        device.send(pack("ph", "pH", {start_s + 2010: 7.5}))
        shown.reaches(1, "commit_retries_total")
        assert shown("in_flight_readings") == 1
        network.restore()
        shown.reaches(203, "readings_total", kind="fresh")
        wait_until(lambda: shown("in_flight_readings") == 0, within_s=WITHIN_S, what="nothing is in flight")

        take_over(mosquitto)
        shown.reaches(1, "takeovers_total")
        shown.reaches(2, "connections_total")
        shown.reaches(1, "broker_connected")

        device.publish_status(StatusMessage(online=True, time_s=time.time() + 7200))
        shown.reaches(1, "clocks_wrong")
        device.send(pack("ph", "pH", {start_s + 2020: 7.5}))
        shown.reaches(1, "readings_total", kind="off_clock")

        messages, readings = 109, 207
        assert shown("messages_total") >= messages
        assert shown("batch_readings_sum") >= readings
        assert 0 < shown("receipts_total") <= messages
        assert shown("received_to_committed_seconds_count") == shown("messages_total") - 1, "one was refused"
        assert 0 < shown("received_to_committed_seconds_sum") < 3600
        assert shown("measured_to_received_seconds_count") >= readings
        mean_s = shown("measured_to_received_seconds_sum") / shown("measured_to_received_seconds_count")
        assert 1000 < mean_s < 4000
        assert shown("commit_seconds_count") >= shown("judge_seconds_count") > 10
        assert shown("judge_seconds_sum") > 0
        assert shown("commit_seconds_sum") > 0
        assert (shown("inbox_messages"), shown("inbox_bytes")) == (0, 0)
        assert math.isnan(shown("defects_total", where="decode")), "there was none"
        assert (shown("dropped_total"), shown("series_misconfigured")) == (0, 0)
        assert (shown("judge_failures_total"), shown("let_go_total")) == (0, 0), "see their own tests"
        assert shown("other_shares_messages_total") == 0, "there are no others"

        with running_processes(second):
            wait_until(
                lambda: "standing_by" in second.log.read_text(), within_s=WITHIN_S, what="one stands by"
            )
            assert standby("shard_owner") == 0
            first.kill()
            standby.reaches(1, "shard_owner")
            assert standby("shard_epoch") == 2
            assert standby("clocks_wrong") == 1, "what was known outlives the owner"
    network.close()
    store.close()
    unseen = {name for name in known() if name.startswith("towntwin_ingest")} - {
        re.sub("_(sum|count)$", "", name) for name in shown.asked
    }
    assert not unseen, "a metric that nobody looked at"
