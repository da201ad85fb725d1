"""Every address that devices get names the broker's listener for their credential, wherever it is written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

MOSQUITTO = "deploy/compose/mosquitto.conf"
# Each file with addresses, and the file with the listeners that belong to them.
SOURCES = {
    "deploy/install.sh": "deploy/install.sh",
    "deploy/compose.yaml": MOSQUITTO,
    "docs/howto/enrol-a-device.md": "docs/howto/enrol-a-device.md",
}
PREFIX = "TOWNTWIN_GATEWAY_DEVICE_"


def listeners(path: Path) -> dict[str, str]:
    """Return the port of the listener for each credential in a file with a configuration of Mosquitto."""
    _, *blocks = re.split(r"^listener ", path.read_text(), flags=re.MULTILINE)
    ports = {}
    for block in blocks:
        port, *lines = block.splitlines()
        ports["certificate" if "require_certificate true" in lines else "password"] = port
    return ports


@pytest.mark.parametrize(("source", "configuration"), SOURCES.items())
def test_devices_with_a_certificate_get_the_listener_for_certificates(
    source: str, configuration: str
) -> None:
    ports = listeners(REPOSITORY / configuration)
    assert ports.keys() == {"password", "certificate"}
    text = (REPOSITORY / source).read_text()
    for variable, credential in (("BROKER", "password"), ("CERTIFICATE_BROKER", "certificate")):
        named = re.findall(rf"{PREFIX}{variable}(?:=|: )mqtts://\S+?:(\d+)\b", text)
        assert named == [ports[credential]], f"{source}, {PREFIX}{variable}"


def test_a_town_reaches_its_county_at_the_listener_for_certificates() -> None:
    script = REPOSITORY / "deploy/install.sh"
    assert re.findall(r"mqtts://\$county:(\d+)", script.read_text()) == [listeners(script)["certificate"]]
