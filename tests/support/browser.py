"""Finds or installs Chromium and a Chinese font for the console's tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.debian_servers.installation import InstallationError, apt_install
from tests.support.server_installation import install_lock

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = ("chromium", "chromium-browser", "google-chrome")
FONT = "fonts-wqy-microhei"


def provide(report: Callable[[str], None]) -> Path:
    """Find Chromium and a Chinese font, or install Debian's.

    Raises
    ------
    InstallationError
        If there is no Chromium, and this is not Debian as root.

    """
    found = _find()
    if found is not None and _shows_chinese():
        return found
    if os.geteuid() == 0 and shutil.which("apt-get") is not None:
        with install_lock():
            apt_install("chromium", FONT, "fontconfig", report=report)
        found = _find()
    if found is None:
        raise InstallationError("there is no Chromium; on Debian: apt-get install chromium")
    return found


def _find() -> Path | None:
    for name in NAMES:
        path = shutil.which(name)
        if path is not None:
            return Path(path)
    return None


def _shows_chinese() -> bool:
    program = shutil.which("fc-list")
    if program is None:
        return False
    listed = subprocess.run([program, ":lang=zh"], capture_output=True, check=False)
    return bool(listed.stdout.strip())
