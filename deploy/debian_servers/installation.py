"""Installs Debian's TimescaleDB and Mosquitto as root, without starting their services.

Debian 13 has both as packages. On an older Debian a root folder of Debian 13 is created once, and the servers
run there by ``chroot``; nothing is mounted.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from deploy.errors import DeployError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SUITE = "trixie"
PROGRAMS = "/usr/lib/postgresql/17/bin"
EXTENSION = "/usr/share/postgresql/17/extension/timescaledb.control"
MOSQUITTO = "/usr/sbin/mosquitto"
PACKAGES = ("postgresql-17-timescaledb", "mosquitto")


class InstallationError(DeployError):
    """A server or program can't be installed on this machine; the message has the reason and the remedy."""


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
    def is_this_machine(self) -> bool:
        """Whether the servers run in the machine's own root folder."""
        return self.root == Path("/")

    def data_folder(self, folder: Path) -> Path:
        """Return the folder for the servers' data: ``folder`` itself, or one in the root folder."""
        return folder if self.is_this_machine else self.root / "srv"

    def inside(self, path: Path) -> str:
        """Return a path as seen inside the root folder."""
        return str(Path("/") / path.relative_to(self.root))

    def owner(self, user: str) -> tuple[int, int]:
        """Return the ids of a user of the installation; the caller's own ids where it isn't root."""
        if os.geteuid() != 0:
            return os.geteuid(), os.getegid()
        for line in (self.root / "etc/passwd").read_text().splitlines():
            name, _, uid, gid, *_ = line.split(":")
            if name == user:
                return int(uid), int(gid)
        raise InstallationError(f"{self.root} has no user {user}")

    def command(
        self, user: str, program: str, *args: str, end_signal: Literal["KILL", "INT", "TERM"] = "KILL"
    ) -> list[str]:
        """Return a command that runs a server's program as an unprivileged user.

        It gets ``end_signal`` at the end of the *thread* that started it: start servers from the main thread.
        """
        chroot_prefix = ["chroot", str(self.root)] if not self.is_this_machine else []
        if shutil.which("setpriv") is None:  # not Linux
            return [*chroot_prefix, program, *args]
        group = self.owner(user)[1]
        user_flags = [f"--reuid={user}", f"--regid={group}", "--clear-groups"] if os.geteuid() == 0 else []
        return [*chroot_prefix, "setpriv", *user_flags, f"--pdeathsig={end_signal}", program, *args]


def provide(folder: Path, report: Callable[[str], None], *, user_id: int | None = None) -> Installation:
    """Find the real servers, or install them.

    Parameters
    ----------
    folder : for the root folder of Debian 13, where this machine's Debian is older
    report : prints one line about what is installed
    user_id : of the operating system, that of this process where None

    Raises
    ------
    InstallationError
        If they are not installed, and this is not Debian as root.

    """
    local_installation = Installation(Path("/"))
    is_root = (os.geteuid() if user_id is None else user_id) == 0
    if local_installation.has_timescale and local_installation.has_mosquitto:
        return local_installation
    if not is_root or shutil.which("apt-get") is None:
        raise InstallationError(
            "Debian's TimescaleDB and Mosquitto are not installed, and that is done on Debian as root only:"
            f" {'become root' if not is_root else 'this system has no apt-get'}; elsewhere leave out"
            " --timescaledb, or name servers of your own by TOWNTWIN_DSN and TOWNTWIN_BROKER"
        )
    with install_lock(folder):
        debian_13 = Installation(folder / SUITE)
        if debian_13.root.exists():
            return debian_13
        if _apt_has(PACKAGES[0]):
            apt_install(*PACKAGES, report=report)
            return local_installation
        _make_root_folder(debian_13.root, report)
        return debian_13


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
    staging = root_folder.with_name(f".{SUITE}-being-made")
    shutil.rmtree(staging, ignore_errors=True)
    _run("mmdebstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(staging))
    staging.chmod(0o755)
    staging.rename(root_folder)


@contextmanager
def install_lock(folder: Path) -> Iterator[None]:
    """Lock installations in a folder: other processes wait until this one is done."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
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
