"""Provides the real servers for the tests (TimescaleDB, Mosquitto, RabbitMQ) in a cache of the tests' own.

RabbitMQ is added when the first test requests it.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.debian_servers import installation as debian
from deploy.debian_servers.installation import Installation, InstallationError
from tests.support.run_folders import new_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

RABBITMQ = "usr/lib/rabbitmq/lib"


def cache_folder() -> Path:
    """Return the cache folder of the tests; for root it is where unprivileged servers can reach it."""
    if os.geteuid() == 0:
        return Path("/var/cache/towntwin-test")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "towntwin-test"


@contextmanager
def enterable_folder(private: Path) -> Iterator[Path]:
    """Provide a folder that, for root, unprivileged users may enter; else one that exists (``private``)."""
    if os.geteuid() != 0:
        yield private
        return
    folder = new_folder(cache_folder() / "run", "folder", (0, 0))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def runs_folder(installation: Installation) -> Path:
    """Return the folder for throw-away data that the servers of an installation can reach."""
    return cache_folder() / "run" if installation.is_this_machine else installation.root / "srv"


def install_lock() -> AbstractContextManager[None]:
    """Lock the installation: other runs wait until this one is done."""
    return debian.install_lock(cache_folder())


def provide(report: Callable[[str], None]) -> Installation:
    """Find the real servers, or install them. Raises `InstallationError`."""
    return debian.provide(cache_folder(), report)


def has_rabbitmq(installation: Installation) -> bool:
    """Return whether RabbitMQ 4 is installed."""
    return any((installation.root / RABBITMQ).glob("rabbitmq_server-4.*"))


def provide_rabbitmq(installation: Installation, report: Callable[[str], None]) -> None:
    """Add RabbitMQ 4 to an installation of the real servers, unless it is there.

    Raises
    ------
    InstallationError
        If this is not Debian as root, or its RabbitMQ is older than 4.

    """
    if has_rabbitmq(installation):
        return
    if os.geteuid() != 0 or not (installation.root / "usr/bin/apt-get").exists():
        raise InstallationError("RabbitMQ 4 is missing, and it is installed on Debian as root only")
    with install_lock():
        if not has_rabbitmq(installation):
            debian.apt_install("rabbitmq-server", report=report, root=installation.root)
    if not has_rabbitmq(installation):
        raise InstallationError("the RabbitMQ of this Debian is older than 4")
