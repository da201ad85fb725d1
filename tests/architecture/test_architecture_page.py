"""The architecture page: its diagrams are up to date, and every module that it names exists."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def diagrams() -> ModuleType:
    """The script that draws; ``docs`` is no package."""
    spec = importlib.util.spec_from_file_location("diagrams", REPOSITORY / "docs/diagrams.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_diagrams_are_those_that_the_script_draws(diagrams: ModuleType) -> None:
    for name, steps in diagrams.DIAGRAMS.items():
        assert (REPOSITORY / "docs/pictures" / name).read_text("utf-8") == diagrams.svg(steps)


def test_every_module_that_the_page_or_a_diagram_names_exists(diagrams: ModuleType) -> None:
    page = (REPOSITORY / "docs/architecture.md").read_text("utf-8")
    named = set(re.findall(r"`([a-z_]+(?:/[a-z0-9_]+)+(?:\.py)?)`", page))
    named |= {module for steps in diagrams.DIAGRAMS.values() for step in steps for module in step.modules}
    assert len(named) > 40
    assert [one for one in sorted(named) if not (REPOSITORY / one).exists()] == []
