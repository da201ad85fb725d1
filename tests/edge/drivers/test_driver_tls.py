"""Tests that drivers which subscribe at a broker connect by TLS with a client certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge.drivers.registry import DRIVERS
from tests.edge.drivers.test_mqtt_driver import MESSAGES, SOURCES, Reading
from tests.edge.drivers.test_sparkplug import LEVEL, PH
from tests.edge.drivers.test_sparkplug import OPTIONS as SPARKPLUG_OPTIONS
from tests.support.mqtt_publisher import MqttPublisher
from tests.support.processes import wait_until
from tests.support.sparkplug_node import EdgeNode
from tests.support.tls_mosquitto import issue_client, start_tls_mosquitto

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.debian_servers.installation import Installation
    from tests.conftest import StartMosquitto

TRUST = {"ca": "ca.crt"}
IDENTITY = TRUST | {"certificate": "agent.crt", "key": "agent.key"}


def test_subscriptions_by_tls_need_the_client_certificate_and_name_what_is_wrong(
    start_mosquitto: StartMosquitto, real_servers: Installation | None, tmp_path: Path
) -> None:
    tls = start_tls_mosquitto(start_mosquitto, real_servers, tmp_path, client_certificates=True)
    issue_client(tls.authority, "agent", tmp_path)
    tls.ca.rename(tmp_path / "ca.crt")
    (tmp_path / "other.crt").write_bytes(type(tls.authority).create("another authority").certificate_pem)

    def driver(kind: str, options: dict[str, Any], files: dict[str, str]) -> Any:
        return DRIVERS[kind]({"broker": tls.url, **options, **files}, tmp_path)

    def fault(kind: str, options: dict[str, Any], files: dict[str, str]) -> str:
        faults: list[str] = []
        one = driver(kind, options, files)
        one.on_fault = faults.append
        packs = one.packs()
        wait_until(lambda: next(packs) is None and bool(faults), within_s=20, what=f"{kind} reports it")
        packs.close()
        return faults[0]

    kinds: dict[str, dict[str, Any]] = {"mqtt": {"sources": SOURCES}, "sparkplug": SPARKPLUG_OPTIONS}
    for kind, options in kinds.items():
        assert "requires a client certificate" in fault(kind, options, TRUST)
        assert "certificate" in fault(kind, options, IDENTITY | {"ca": "other.crt"})

    topic = "telegraf/x/y"
    with (
        MqttPublisher(tls.plain) as publisher,
        Reading(driver("mqtt", kinds["mqtt"], IDENTITY)) as by_mqtt,
        Reading(driver("sparkplug", kinds["sparkplug"], IDENTITY)) as by_sparkplug,
    ):
        publisher.publish(topic, MESSAGES[topic])
        node = EdgeNode()
        publisher.publish(*node.nbirth(), qos=0)
        publisher.publish(*node.message("DBIRTH", PH, LEVEL), qos=0)
        wait_until(lambda: len(by_mqtt.records) == 1, within_s=20, what="a reading by MQTT")
        wait_until(lambda: len(by_sparkplug.records) == 2, within_s=20, what="two readings by Sparkplug")
    assert [(one.name, one.value) for one in by_mqtt.records] == [("ph", 7.3)]
    assert [one.name for one in by_sparkplug.records] == ["ph", "water_level"]
