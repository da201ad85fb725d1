"""Finds Debian's promtool and prometheus, or extracts them from the package without installing a service."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from deploy.debian_servers.installation import InstallationError
from tests.support.server_installation import cache_folder, install_lock

PROGRAMS = ("promtool", "prometheus")


def provide(name: str = "promtool") -> Path:
    """Return one of `PROGRAMS`, from the machine or the tests' cache (19 MB are downloaded once).

    Raises
    ------
    InstallationError
        If there is none, and this is not Debian as root, or the download fails.

    """
    cached = cache_folder() / name
    if found := shutil.which(name):
        return Path(found)
    apt, dpkg = shutil.which("apt-get"), shutil.which("dpkg")
    with install_lock():
        if cached.exists():
            return cached
        if os.geteuid() != 0 or apt is None or dpkg is None:
            raise InstallationError(f"there is no {name}; on Debian: apt-get install prometheus")
        with tempfile.TemporaryDirectory(prefix="towntwin-promtool-") as folder:
            _run([apt, "update", "-qq"], folder)
            _run([apt, "download", "-qq", "prometheus"], folder)
            (package,) = Path(folder).glob("prometheus_*.deb")
            _run([dpkg, "-x", package.name, "content"], folder)
            for program in PROGRAMS:
                staging = cached.with_name(f".{program}-being-made")
                shutil.copy(Path(folder) / "content/usr/bin" / program, staging)
                staging.rename(cached.with_name(program))
    return cached


def _run(command: list[str], folder: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise InstallationError(f"{' '.join(command)} failed: {done.stderr.strip()[-2000:]}")
