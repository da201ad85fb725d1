"""Tests that each extra of `pyproject.toml`, installed alone in a bare environment, runs its command."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from tests.support.bare_environments import REPOSITORY, BareEnvironment, build_wheel

if TYPE_CHECKING:
    from pathlib import Path

EXTRAS = sorted(
    tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
)
TOWNTWIN = ("-c", "import sys; from deploy.__main__ import main; sys.exit(main(sys.argv[1:]))")
ACTIONS: dict[str, list[tuple[str, ...]]] = {
    # with empty standard input an agent ends at once, with its spool empty
    "edge": [
        (*TOWNTWIN, "edge", "--help"),
        (*TOWNTWIN, "edge", "--area", "a", "--device", "d", "--broker", "mqtt://127.0.0.1:9"),
    ],
    "replay": [
        (*TOWNTWIN, "replay", "--help"),
        ("-c", "import deploy.replay_run, edge.drivers.parquet_table"),
    ],
    "analytics": [("-c", "import analytics.core.numpy_judge, analytics.twin, analytics.assessments")],
    "fast": [("-c", "import analytics.core.numpy_judge, numba")],
    "ingest": [
        (*TOWNTWIN, "ingest", "--help"),
        ("-c", "import ingest_service.pipeline.process, ingest_service.storage.postgres.store"),
    ],
    "modbus": [("-c", "import edge.drivers.modbus_driver, edge.drivers.serial_probe")],
    "certificates": [
        (*TOWNTWIN, "edge", "--help"),
        ("-c", "import deploy.device_access.certificate_authority, deploy.device_enrolment"),
    ],
    "client": [("-c", "import towntwin.client, httpx, pyarrow")],
    "gateway": [(*TOWNTWIN, "gateway", "--help"), ("-c", "import gateway.server")],
    "dashboards": [(*TOWNTWIN, "dashboards", "--help"), ("-c", "import dashboards.push")],
    "backtest": [(*TOWNTWIN, "backtest", "--help"), ("-c", "import deploy.backtest.command")],
    "reports": [(*TOWNTWIN, "report", "--help"), ("-c", "import analytics.service.reports")],
    "gis": [
        (*TOWNTWIN, "network", "import", "--help"),
        ("-c", "import pyproj, osmium, deploy.network_files.formats"),
    ],
    "deploy": [(*TOWNTWIN, "up", "--help"), (*TOWNTWIN, "settings")],
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_installed_alone_runs_its_command(extra: str, wheel: Path, tmp_path: Path) -> None:
    """`pip install "towntwin[edge]"` was seen to give a command that fails on `import structlog`."""
    environment = BareEnvironment(tmp_path / "venv", wheel, extra)
    for action in ACTIONS[extra]:
        done = environment.run(*action, folder=tmp_path)
        assert done.returncode == 0, f"{extra}: {action}:\n{done.stderr}"
    if extra == "edge":
        assert environment.distributions == {"cbor2", "msgspec", "paho-mqtt"}
