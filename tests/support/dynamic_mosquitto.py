"""A Mosquitto with its dynamic security plugin: one listener for passwords, one for client certificates."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.box.missing_users import main as add_missing_users
from tests.support import not_tested
from tests.support.run_folders import new_folder
from tests.support.server_installation import runs_folder
from tests.support.tls_mosquitto import start_tls_mosquitto

if TYPE_CHECKING:
    from deploy.debian_servers.installation import Installation
    from tests.conftest import StartMosquitto
    from tests.support.tls_mosquitto import TlsMosquitto

ADMIN, ADMIN_PASSWORD = "admin", "admin-of-the-tests"
PLUGINS = "usr/lib"
PLUGIN = "mosquitto_dynamic_security.so"


def start_dynamic_mosquitto(
    start: StartMosquitto,
    installation: Installation | None,
    folder: Path,
    *,
    days: float = 30.0,
    secrets: Path | None = None,
) -> TlsMosquitto:
    """Start it; its administrator is `ADMIN`, and the broker's certificate is valid for some ``days``.

    With ``secrets``, the folder of `deploy.box.prepare_users`, it has the platform's users too.
    """
    root = installation.root if installation is not None else Path("/")
    plugin = next((root / PLUGINS).glob(f"*/{PLUGIN}"), None)
    if plugin is None or installation is None:
        not_tested.skip("Mosquitto's dynamic security plugin is missing: install Debian's mosquitto")
    config_folder = new_folder(runs_folder(installation), "dynamic", installation.owner("mosquitto"))
    config = config_folder / "dynamic-security.json"
    inside = installation.inside(config)
    chroot = ["chroot", str(root)] if root != Path("/") else []
    command = [*chroot, "/usr/bin/mosquitto_ctrl", "dynsec", "init", inside, ADMIN, ADMIN_PASSWORD]
    subprocess.run(command, check=True, capture_output=True)
    os.chown(config, *installation.owner("mosquitto"))
    if secrets is not None:
        assert add_missing_users([str(config), str(secrets / "dynamic-security.json")]) == 0
    lines = (
        "allow_anonymous false",
        f"plugin {installation.inside(plugin)}",
        f"plugin_opt_config_file {inside}",
    )
    return start_tls_mosquitto(start, installation, folder, client_certificates=True, days=days, lines=lines)
