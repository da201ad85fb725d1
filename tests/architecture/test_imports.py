"""Tests that packages import each other only as the architecture allows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.processes import REPOSITORY


def test_imports_look_up_the_building() -> None:
    program = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run(
        [program, "--no-cache"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
