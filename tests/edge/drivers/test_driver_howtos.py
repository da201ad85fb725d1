"""Runs the files, code and commands of docs/howto on Modbus sondes, MQTT brokers and writing a driver."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from edge.drivers import print_readings, registry
from edge.drivers.driver_options import DriverOptionsError
from edge.drivers.site_drivers import build_drivers, read_site_file
from tests.support import howto_pages
from tests.support.modbus_instruments import device, float_words, tcp_instrument
from tests.support.mqtt_publisher import MqttPublisher
from tests.support.processes import REPOSITORY
from tests.support.sparkplug_node import INT32, EdgeNode, metric

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.throwaway_servers import MosquittoServer

SONDE, DRIVER, BROKER = "connect-a-modbus-sonde.md", "write-a-driver.md", "subscribe-to-an-mqtt-broker.md"
STATE_TOPIC = "spBv1.0/STATE/town"
WRITTEN_BUS = "tcp://127.0.0.1:502"


def run_page_command(command: str, folder: Path) -> list[dict[str, object]]:
    """Run a command of the page in a folder, with this interpreter; return the pack that it prints."""
    bash = shutil.which("bash")
    assert bash is not None
    program = command.replace("python ", f"{sys.executable} ")
    done = subprocess.run(
        [bash, "-euo", "pipefail", "-c", program],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    return [record for line in done.stdout.splitlines() for record in json.loads(line)]


def test_the_page_on_modbus_sondes_reads_a_sonde(tmp_path: Path) -> None:
    site, sonde_map = howto_pages.code_blocks(SONDE, "toml")
    (command,) = howto_pages.code_blocks(SONDE, "sh")
    words = {397: float_words(8.25), 405: float_words(12.5), 409: float_words(18.5), 413: float_words(512)}
    with tcp_instrument(device(words | {0: [1320, *float_words(7.5)[::-1]]}, fill=420)) as bus:
        (tmp_path / "my_sonde.toml").write_text(sonde_map)
        (tmp_path / "site.toml").write_text(site.replace(WRITTEN_BUS, bus))
        pack = run_page_command(command, tmp_path)
        (tmp_path / "site.toml").write_text(
            site.replace(WRITTEN_BUS, bus).replace('"ysi_exo"', '"my_sonde.toml"')
        )
        own = run_page_command(command, tmp_path)
    assert {one["n"]: one["v"] for one in pack} == {
        "dissolved_oxygen": 0.00825, "turbidity": 12.5, "water_temperature": 18.5, "conductivity": 0.0512,
    }  # fmt: skip
    assert {one["n"]: one["v"] for one in own} == {"water_level": 1.32, "ph": 7.5}


def test_the_page_on_mqtt_brokers_reads_what_is_published(tmp_path: Path, mosquitto: MosquittoServer) -> None:
    (site,) = howto_pages.code_blocks(BROKER, "toml")
    sensors, pump_house = howto_pages.code_blocks(BROKER, "sh")
    (tmp_path / "site.toml").write_text(site.replace("mqtt://127.0.0.1:1883", mosquitto.url))
    build_drivers(read_site_file(tmp_path / "site.toml"), tmp_path, print)  # also those that are not run here
    node, at = EdgeNode("plant/pump-house"), "2026-11-18T09:46:40"
    births = [node.nbirth(metric(132, INT32, "level", 2)), node.message("DBIRTH", metric(7.1, name="pH"))]
    messages = [
        ("tele/bridge/LWT", b"Online"),
        (
            "application/a/device/0102030405060708/event/up",
            f'{{"time":"{at}Z","object":{{"temp":19}}}}'.encode(),
        ),
        ("tele/bridge/SENSOR", f'{{"Time":"{at}","DS18B20":{{"Temperature":20.6}}}}'.encode()),
        ("telegraf/river", b"river,site=west ph=7.3"),
        ("radar/1", b'{"ts":1795000000000,"count":100}'),
        ("radar/1", b'{"ts":1795000060000,"count":112}'),
        *births,
    ]
    with MqttPublisher(mosquitto, STATE_TOPIC) as publisher, ThreadPoolExecutor() as pool:
        printed = [pool.submit(run_page_command, one, tmp_path) for one in (sensors, pump_house)]
        # The commands subscribe when they have started; what was published before is not received.
        ends_s = time.monotonic() + 60
        while not all(one.done() for one in printed) and time.monotonic() < ends_s:
            for topic, payload in messages:
                publisher.publish(topic, payload)
            time.sleep(0.2)
        found = {one["n"]: one["v"] for result in printed for one in flat(result.result())}
    assert found["water_temperature"] == 19.0
    assert found["air_temperature"] == 20.6
    assert found["ph"] in {7.1, 7.3}, "of either broker"
    assert found["water_level"] == pytest.approx(1.32)


def flat(records: list[dict[str, object]]) -> list[dict[str, object]]:
    """Give each record of a pack its base name."""
    return [{"n": one.get("n", one.get("bn")), **one} for one in records]


def test_the_driver_of_the_page_reads_and_reports_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = howto_pages.code_blocks(DRIVER, "python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 30
    module = ModuleType("edge.drivers.processor_temperature")
    exec(compile(code, "processor_temperature.py", "exec"), module.__dict__)  # noqa: S102 - the page's code
    monkeypatch.setitem(sys.modules, module.__name__, module)
    create = registry._imported_when_used("processor_temperature")
    monkeypatch.setattr(print_readings, "DRIVERS", {"processor_temperature": create})
    (tmp_path / "temp").write_text("48312\n")
    site = tmp_path / "site.toml"
    site.write_text(
        f'[driver.own]\nkind = "processor_temperature"\npath = "{tmp_path}/temp"\ninterval_s = 0.01\n'
    )
    driver = print_readings.open_driver(site, "own")
    faults: list[str] = []
    driver.on_fault = faults.append  # type: ignore[attr-defined]
    packs = driver.packs()
    first = next(packs)
    assert first is not None
    assert [(one.name, one.value, one.unit) for one in first.records] == [
        ("device_temperature", 48.312, "Cel")
    ]
    (tmp_path / "temp").unlink()
    while not faults:
        assert next(packs) is None
    assert "No such file" in faults[0]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "no table [driver.own]"),
        ("driver = 3", "no table [driver.own]"),
        ('[driver.own]\nkind = "telepathy"', "modbus"),
        ('[driver.own]\nkind = "modbus"', "bus"),
        ("[driver", "can't be read"),
    ],
)
def test_a_wrong_site_file_is_one_sentence(
    text: str, part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "site.toml").write_text(text)
    assert print_readings.main([str(tmp_path / "site.toml"), "own"]) == 2
    assert part in capsys.readouterr().err


@pytest.mark.parametrize("kind", sorted(registry.DRIVERS))
def test_each_driver_of_the_registry_refuses_an_unknown_option(kind: str) -> None:
    with pytest.raises(DriverOptionsError):
        registry.DRIVERS[kind]({"not_an_option": 1})
