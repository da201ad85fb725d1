"""Follows docs/howto/connect-a-device.md as a technician would: site file, script, table of mistakes."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from deploy import site_files
from ingest_service.storage.contract.models import DeadLetterQuery
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support import howto_pages
from tests.support.mqtt_test_device import MqttTestDevice
from tests.support.processes import REPOSITORY, PlatformProcess, running_processes, wait_until

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "connect-a-device.md"
DATA = "towntwin/v1/330483-d1/wz-01/data"


def test_the_page_leads_from_a_site_file_to_readings_and_names_the_mistakes(
    timescale_dsn: str, mosquitto: Any, tmp_path: Path
) -> None:
    (site_file,) = howto_pages.code_blocks(PAGE, "toml")
    (example,) = howto_pages.code_blocks(PAGE, "json")
    (script,) = howto_pages.code_blocks(PAGE, "python")
    (tmp_path / "town.toml").write_text(site_file, "utf-8")
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn)
    store.enrol(site_files.load_site_files([tmp_path / "town.toml"]))
    now_s = float(int(time.time()))

    def record(**changed: Any) -> bytes:
        return json.dumps([{"n": "ph", "u": "pH", "v": 7.2, "t": now_s} | changed]).encode()

    mistakes = [
        ("device", DATA.replace("wz-01", "wz-1"), record(), "enrol it"),
        ("channel", DATA, record(n="pH"), "ph"),
        ("unit", DATA, record(u="%"), "pH"),
        ("time", DATA, record(t=now_s * 1000), "milliseconds"),
        ("time", DATA, record(t=now_s + 8 * 3600), "clock"),
        ("time", DATA, record(t=946_684_800.0 + 60), "clock was never set"),
        ("payload", DATA, record(v="7,4"), "7,4"),
    ]
    ingest = PlatformProcess(
        "ingest", log=tmp_path / "ingest.log", TOWNTWIN_DSN=timescale_dsn, TOWNTWIN_BROKER=mosquitto.url
    )
    try:
        with running_processes(ingest), MqttTestDevice(mosquitto, DATA) as device:
            wait_until(lambda: "subscribed" in ingest.log.read_text(), within_s=60, what="ingest is ready")
            assert script == (REPOSITORY / "examples/publish_from_a_pi.py").read_text("utf-8")
            howto_pages.example(
                "publish_from_a_pi.py", broker_host=mosquitto.host, broker_port=str(mosquitto.port)
            )
            device.send(json.dumps(json.loads(example.replace("1795000000", str(now_s - 600)))).encode())
            wait_until(lambda: store.health().readings == 9, within_s=30, what="all readings are stored")
            for _, topic, payload, _ in mistakes:
                device.send(payload, topic=topic)
            wait_until(
                lambda: store.health().dead_letters == len(mistakes), within_s=30, what="all are dead letters"
            )
            assert ingest.stop() == 0
        found = sorted(store.dead_letters(DeadLetterQuery()), key=lambda one: one.letter_id)
        assert [(one.reason, one.topic, one.payload) for one in found] == [one[:3] for one in mistakes]
        for one, (*_, words) in zip(found, mistakes, strict=True):
            assert words in one.detail, one.detail
    finally:
        store.close()
