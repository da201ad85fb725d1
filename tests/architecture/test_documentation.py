"""Tests that the documentation site builds without a warning.

Pages are read and their references resolved, but not written: that takes longer than all else.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.processes import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path


def test_the_documentation_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-b",
        "dummy",
        "docs",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for page in ("index", "reference/modules", "reference/http-api", "reference/errors", "reference/python"):
        assert (tmp_path / f".doctrees/{page}.doctree").stat().st_size > 5_000, page
