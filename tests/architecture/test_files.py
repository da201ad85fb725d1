"""Tests the repository's files: no traces of one machine, short modules, docstrings on all public names."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONGEST = 600  # a module that is one thing is not cut into fragments to obey a number
ROOMS = ("analytics", "dashboards", "deploy", "edge", "gateway", "ingest_service", "benchmarks")
HERE = "tests/architecture/test_files.py"

# Written so that this file does not hold what it forbids.
FORBIDDEN = {
    "the home of one machine": re.compile(r"/(?:work|root|home)/[a-z]"),
    "the host of a package registry": re.compile(
        r"(?:pypi\.org|pythonhosted\.org|registry\.npmjs|--(?:extra-)?index-url[= ]http|artifactory|nexus)",
        re.IGNORECASE,
    ),
}


def committed() -> list[Path]:
    """Every file that git keeps and that is still there."""
    git = shutil.which("git")
    assert git is not None
    listed = subprocess.run(
        [git, "-c", "safe.directory=*", "ls-files", "-z"],  # whoever owns the clone
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return [REPOSITORY / name for name in listed.stdout.split("\0") if name and (REPOSITORY / name).is_file()]


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (REPOSITORY / folder).rglob("*.py"))


def name(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str) -> None:
    found = []
    for path in committed():
        if name(path) == HERE:
            continue
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue
        found += [
            f"{name(path)}:{number}" for number, line in enumerate(lines, 1) if FORBIDDEN[what].search(line)
        ]
    assert found == []


def test_modules_fit_a_sitting() -> None:
    lengths = {name(path): len(path.read_text().splitlines()) for path in modules(*ROOMS, "tests")}
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST} == {}


def test_every_module_has_a_purpose_in_its_docstring() -> None:
    silent = [
        name(path) for path in modules(*ROOMS, "tests") if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_everything_public_has_a_docstring() -> None:
    silent = [
        f"{name(path)}: {one}"
        for path in modules(*ROOMS)
        for one in undocumented(ast.parse(path.read_text()))
    ]
    assert silent == []


def undocumented(tree: ast.Module) -> Iterator[str]:
    """What is public in a module, and in its public classes, and has no docstring."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and is_public(node.name):
            yield from () if ast.get_docstring(node) else (node.name,)
        if isinstance(node, ast.ClassDef) and is_public(node.name):
            for method in node.body:
                if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) and is_public(method.name):
                    yield from () if ast.get_docstring(method) else (f"{node.name}.{method.name}",)


def is_public(word: str) -> bool:
    return not word.startswith("_")


def test_requirements_carry_hashes_and_no_address() -> None:
    for path in sorted((REPOSITORY / "requirements").glob("*.txt")):
        text = path.read_text()
        pins = re.findall(r"^[a-z0-9][^=\s]*==", text, re.MULTILINE | re.IGNORECASE)
        assert len(pins) > 10
        assert "://" not in text
        for block in re.split(r"\n(?=[a-zA-Z0-9])", text.strip()):
            assert "--hash=sha256:" in block or block.startswith("#"), (
                f"{name(path)}: {block.splitlines()[0]}"
            )
