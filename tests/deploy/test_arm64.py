"""Tests that the wheel installs for arm64 and that the agent runs there, under qemu-user.

It needs a root folder of Debian for arm64 with python3, which TOWNTWIN_ARM64_ROOT names (``mmdebstrap
--architectures=arm64 --variant=minbase --include=python3 trixie FOLDER``, some twenty minutes), and programs
of arm64 that run (Debian's qemu-user-static and binfmt-support).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge.agent.settings import Settings
from edge.agent.spool import Spool
from tests.support import not_tested
from tests.support.bare_environments import build_wheel
from tests.support.processes import wait_until

SITE = """
area = "330483-d1"
device = "wz-01"
spool = "/srv/towntwin-test/spool"
[driver.simulated]
kind = "simulator"
quantities = ["ph", "turbidity"]
interval_s = 0.5
[driver.probe]
kind = "exec"
command = ["uname", "-m"]
every_s = 1.0
"""


@pytest.mark.timeout(600)
def test_the_wheel_installs_and_the_agent_runs_on_arm64(tmp_path: Path) -> None:
    named = os.environ.get("TOWNTWIN_ARM64_ROOT")
    if named is None:
        not_tested.skip_always("the agent on arm64: TOWNTWIN_ARM64_ROOT names no root folder of Debian arm64")
    root = Path(named)
    python = ["chroot", str(root), "python3"]
    facts = "import platform as p; print(p.machine(), '.'.join(p.python_version_tuple()[:2]))"
    found = subprocess.run([*python, "-c", facts], capture_output=True, text=True, check=False)
    if not found.stdout.startswith("aarch64 "):
        not_tested.skip_always(f"the agent on arm64: its programs do not run here ({found.stderr.strip()})")
    folder = root / "srv/towntwin-test"
    folder.mkdir(exist_ok=True)
    wheel = build_wheel(tmp_path)
    platforms = [f"--platform=manylinux{one}_aarch64" for one in ("2014", "_2_17", "_2_28")]
    version, target = found.stdout.split()[1], str(folder / "packages")
    options = ["--quiet", "--upgrade", "--only-binary=:all:", "--python-version", version, "--target", target]
    pip = [sys.executable, "-m", "pip", "install", *options, *platforms, f"{wheel}[edge]"]
    subprocess.run(pip, check=True)
    (folder / "spool").unlink(missing_ok=True)
    (folder / "site.toml").write_text(SITE)
    command = [*python, "-m", "deploy", "edge", "run", "/srv/towntwin-test/site.toml", "--clock-wait-s=0"]
    environment = {
        **os.environ, "PYTHONPATH": "/srv/towntwin-test/packages", "TOWNTWIN_BROKER": "mqtt://127.0.0.1:9",
    }  # fmt: skip
    errors = tmp_path / "errors"
    with errors.open("wb") as log, subprocess.Popen(command, env=environment, stderr=log) as agent:
        try:
            wait_until((folder / "spool").exists, within_s=300, what="it has started")
            wait_until(lambda: "aarch64" in errors.read_text(), within_s=120, what="the program was run")
        finally:
            agent.terminate()
        assert agent.wait(60) == 1, "lines were refused"
    spool = Spool.open(folder / "spool", Settings())
    assert spool.waiting >= 1
    spool.close()
