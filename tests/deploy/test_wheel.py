"""The wheel: it has every file of the packages, and the client works from it alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.support.bare_environments import REPOSITORY, build_wheel

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = ("analytics", "dashboards", "deploy", "edge", "gateway", "ingest_service", "towntwin")
CLIENT = """
import sys
sys.path.insert(0, sys.argv[1])
import httpx, towntwin.client
assert towntwin.client.__file__.startswith(sys.argv[1]), towntwin.client.__file__
others = {"analytics", "dashboards", "deploy", "edge", "gateway", "ingest_service"}
assert not others & {name.split(".")[0] for name in sys.modules}
try:
    towntwin.client.Client("http://127.0.0.1:9", key="tt_none").sites()
except httpx.ConnectError:
    print("requested")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


def test_the_wheel_has_every_file_of_the_packages(wheel: Path) -> None:
    git = shutil.which("git")
    assert git is not None
    tracked = subprocess.run(
        [git, "ls-files", *PACKAGES], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split()
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed >= set(tracked)
    assert any(name.endswith(".sql") for name in packed)


def test_the_client_works_from_the_wheel_without_the_other_packages(wheel: Path, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", tmp_path, wheel],
        check=True,
    )
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    shown = subprocess.run(
        [sys.executable, "-c", CLIENT, str(tmp_path)],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout == "requested\n"
