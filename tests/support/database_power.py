"""Loss of power of a database: what PostgreSQL has written and not synced is dropped, sector by sector."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.support import faulty_libc

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from tests.support.throwaway_servers import PostgresServer


def watch_writes(server: PostgresServer) -> bool:
    """Let a server that is not started yet keep what it replaces; return False where there is no compiler."""
    library = faulty_libc.build(server.folder)
    if library is None:
        return False
    library.chmod(0o755)
    undo = _undo_folder(server)
    undo.mkdir()
    if os.geteuid() == 0:
        os.chown(undo, *server.installation.owner(server.user))
    inside = server.installation.inside
    server.environ["LD_PRELOAD"] = inside(library)
    server.environ["FAULTY_FOLDER"] = inside(server.folder)
    server.environ["FAULTY_UNDO"] = inside(undo)
    return True


def lose_power(server: PostgresServer, source: random.Random) -> int:
    """Kill a server and drop its writes that were not synced; return the number of sectors undone."""
    server.kill()
    return faulty_libc.drop_unsynced_elsewhere(_undo_folder(server), server.installation.root, source)


def _undo_folder(server: PostgresServer) -> Path:
    return server.folder / "undo"
