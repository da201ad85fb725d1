"""Tests that folders of killed gateways are removed, and those of living ones are not."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.socket_folder import SocketFolder
from tests.support.processes import REPOSITORY

if TYPE_CHECKING:
    import pytest

HOLDER = """
import sys
from gateway.socket_folder import SocketFolder
folder = SocketFolder()
import socket
socket.socket(socket.AF_UNIX).bind(str(folder.path / "heavy"))
print(folder.path, flush=True)
sys.stdin.read()
"""


def test_a_killed_gateways_folder_is_removed_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    other = tmp_path / "towntwin-gateway-link"
    other.symlink_to(tmp_path.parent)
    served = tmp_path / "towntwin-gateway-0.2.0"  # without a lock
    served.mkdir()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(served / "heavy"))
    listening.listen()
    os.utime(served, times=(time.time() - 60,) * 2)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        path = Path(holder.stdout.readline().strip())
        os.utime(path, times=(time.time() - 60,) * 2)
        own = SocketFolder()
        assert path.parent == own.path.parent == tmp_path
        assert path.exists(), "its gateway lives"
        holder.kill()
        holder.wait()
    SocketFolder().remove()
    assert not path.exists()
    assert served.exists()
    listening.close()
    SocketFolder().remove()
    assert not served.exists()
    assert own.path.exists()
    assert other.is_symlink()
    assert (own.path.stat().st_mode & 0o777) == 0o700
    own.remove()
    assert not own.path.exists()
