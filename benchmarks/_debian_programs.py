"""Provides PostgreSQL's programs of Debian 13 for commands that run outside its root folder."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from deploy.debian_servers.installation import PROGRAMS

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.debian_servers.installation import Installation

NAMES = ("postgres", "pg_basebackup", "pg_receivewal", "psql")


def provide_programs(installation: Installation, folder: Path) -> Path:
    """Return the folder of PostgreSQL's programs.

    On Debian 13 it is Debian's own. In a root folder on an older Debian, each program is a script that starts
    the real one by the loader and with the libraries of the root folder: paths are those of this machine.
    """
    root = installation.root
    programs = root / PROGRAMS[1:]
    if installation.is_this_machine:
        return programs
    (loader,) = (root / "usr/lib64").glob("ld-linux-*.so.*")
    (libraries,) = (root / "usr/lib").glob("*-linux-gnu")
    folder.mkdir(mode=0o755)
    for name in NAMES:
        command = [str(loader), "--library-path", str(libraries), str(programs / name)]
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        script.chmod(0o755)
    return folder
