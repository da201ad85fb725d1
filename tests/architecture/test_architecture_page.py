"""The architecture page: its diagrams are up to date, and every module that it names exists."""

from __future__ import annotations

import re
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
sys.path.append(str(REPOSITORY / "docs"))

import diagrams  # noqa: E402 - the path above comes first


def test_the_diagrams_are_those_that_the_script_draws() -> None:
    for name, steps in diagrams.DIAGRAMS.items():
        assert (REPOSITORY / "docs/pictures" / name).read_text("utf-8") == diagrams.svg(steps)


def test_every_module_that_the_page_or_a_diagram_names_exists() -> None:
    page = (REPOSITORY / "docs/architecture.md").read_text("utf-8")
    named = set(re.findall(r"`([a-z_]+(?:/[a-z0-9_]+)+(?:\.py)?)`", page))
    named |= {module for steps in diagrams.DIAGRAMS.values() for step in steps for module in step.modules}
    assert len(named) > 40
    assert [one for one in sorted(named) if not (REPOSITORY / one).exists()] == []
