"""Installs the real servers for the tests (TimescaleDB, Mosquitto, RabbitMQ) on Debian as root.

Debian 13 has all of them as packages. On an older Debian a root folder of Debian 13 is created once in the
cache, and the servers run there by ``chroot``; nothing is mounted. RabbitMQ is added when the first test
requests it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SUITE = "trixie"
PROGRAMS = "/usr/lib/postgresql/17/bin"
EXTENSION = "/usr/share/postgresql/17/extension/timescaledb.control"
MOSQUITTO = "/usr/sbin/mosquitto"
RABBITMQ = "usr/lib/rabbitmq/lib"
PACKAGES = ("postgresql-17-timescaledb", "mosquitto")


class InstallationError(Exception):
    """A server or program can't be installed on this machine; the message says why."""


def cache_folder() -> Path:
    """Return the cache folder of the tests; for root it is where unprivileged servers can reach it."""
    if os.geteuid() == 0:
        return Path("/var/cache/towntwin-test")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "towntwin-test"


@dataclass(frozen=True, slots=True)
class Installation:
    """An installation of the real servers: this machine (``/``), or a root folder of a newer Debian."""

    root: Path

    @property
    def has_timescale(self) -> bool:
        """Whether PostgreSQL with TimescaleDB is installed."""
        return (self.root / EXTENSION[1:]).exists()

    @property
    def has_mosquitto(self) -> bool:
        """Whether Mosquitto is installed."""
        return (self.root / MOSQUITTO[1:]).exists()

    @property
    def has_rabbitmq(self) -> bool:
        """Whether RabbitMQ 4 is installed."""
        return any((self.root / RABBITMQ).glob("rabbitmq_server-4.*"))

    @property
    def runs(self) -> Path:
        """Folder for throw-away data that the servers can reach."""
        if self.root != Path("/"):
            return self.root / "srv"
        return cache_folder() / "run"

    def inside(self, path: Path) -> str:
        """Return a path as seen inside the root folder."""
        return str(Path("/") / path.relative_to(self.root))

    def owner(self, user: str) -> tuple[int, int]:
        """Return the ids of a user of the installation; the test's own ids where it isn't root."""
        if os.geteuid() != 0:
            return os.geteuid(), os.getegid()
        for line in (self.root / "etc/passwd").read_text().splitlines():
            name, _, uid, gid, *_ = line.split(":")
            if name == user:
                return int(uid), int(gid)
        raise InstallationError(f"{self.root} has no user {user}")

    def command(self, user: str, program: str, *args: str) -> list[str]:
        """Return a command that runs a server's program as an unprivileged user and ends with its parent.

        It ends with the *thread* that started it: start servers from the main thread.
        """
        chroot_prefix = ["chroot", str(self.root)] if self.root != Path("/") else []
        if shutil.which("setpriv") is None:  # not Linux
            return [*chroot_prefix, program, *args]
        group = self.owner(user)[1]
        user_flags = [f"--reuid={user}", f"--regid={group}", "--clear-groups"] if os.geteuid() == 0 else []
        return [*chroot_prefix, "setpriv", *user_flags, "--pdeathsig=KILL", program, *args]


def provide(report: Callable[[str], None]) -> Installation:
    """Find the real servers, or install them.

    Raises
    ------
    InstallationError
        If they are not installed, and this is not Debian as root.

    """
    local_installation = Installation(Path("/"))
    if local_installation.has_timescale and local_installation.has_mosquitto:
        return local_installation
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise InstallationError("real servers are installed on Debian as root only")
    with install_lock():
        debian_13 = Installation(cache_folder() / SUITE)
        if debian_13.root.exists():
            return debian_13
        if _apt_has(PACKAGES[0]):
            apt_install(*PACKAGES, report=report)
            return local_installation
        _make_root_folder(debian_13.root, report)
        return debian_13


def provide_rabbitmq(installation: Installation, report: Callable[[str], None]) -> None:
    """Add RabbitMQ 4 to an installation of the real servers, unless it is there.

    Raises
    ------
    InstallationError
        If this is not Debian as root, or its RabbitMQ is older than 4.

    """
    if installation.has_rabbitmq:
        return
    if os.geteuid() != 0 or not (installation.root / "usr/bin/apt-get").exists():
        raise InstallationError("RabbitMQ 4 is missing, and it is installed on Debian as root only")
    with install_lock():
        if not installation.has_rabbitmq:
            apt_install("rabbitmq-server", report=report, root=installation.root)
    if not installation.has_rabbitmq:
        raise InstallationError("the RabbitMQ of this Debian is older than 4")


def apt_install(*packages: str, report: Callable[[str], None], root: Path = Path("/")) -> None:
    """Install Debian packages in a root folder without starting their services."""
    report(f"installing {' '.join(packages)}")
    chroot_prefix = ["chroot", str(root)] if root != Path("/") else []
    policy = root / "usr/sbin/policy-rc.d"
    policy_is_ours = not policy.exists()
    if policy_is_ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        _run(*chroot_prefix, "apt-get", "update", "-qq")
        _run(*chroot_prefix, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)
    finally:
        if policy_is_ours:
            policy.unlink()


def _apt_has(package: str) -> bool:
    _run("apt-get", "update", "-qq")
    try:
        _run("apt-cache", "show", package)
    except InstallationError:
        return False
    return True


def _make_root_folder(root_folder: Path, report: Callable[[str], None]) -> None:
    if shutil.which("mmdebstrap") is None:
        apt_install("mmdebstrap", report=report)
    report(
        f"making a root folder of Debian 13 with {' and '.join(PACKAGES)} in {root_folder} (half a minute)"
    )
    staging = cache_folder() / f".{SUITE}-being-made"
    shutil.rmtree(staging, ignore_errors=True)
    _run("mmdebstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(staging))
    staging.chmod(0o755)
    staging.rename(root_folder)


@contextmanager
def install_lock() -> Iterator[None]:
    """Lock the installation: other runs wait until this one is done."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(*command: str) -> None:
    done = subprocess.run(
        command,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise InstallationError(f"{' '.join(command)} failed: {done.stderr.strip()[-2000:]}")
