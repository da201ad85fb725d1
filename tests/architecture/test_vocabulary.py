"""Names in the code: no retired word as identifier, no class name twice, errors derive from their base."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[2]
PRODUCT = ("analytics", "dashboards", "deploy", "edge", "gateway", "ingest_service", "towntwin")
# Words of the code's former dialect; CONTRIBUTING.md has what to write instead.
RETIRED = frozenset({
    "askers", "asked", "bury", "buried", "conveyor", "door", "figures", "gate", "heard", "letter", "letters",
    "moment", "moments", "news", "opinion", "opinions", "patience", "place", "places", "said", "say", "says",
    "seen", "stillness", "strangers", "stretch", "stretches", "tell", "told", "wall", "walled", "wanted",
    "whom", "whose",
})  # fmt: skip
# In names of tests also the words of which only the meaning differs from the code's.
RETIRED_IN_TESTS = frozenset({"asks", "hears", "nobody", "says", "tell", "tells", "told", "whoever", "whom"})
STATEMENTS = REPOSITORY / "ingest_service/storage/postgres/queries"
# JSON fields, columns, and a method of the standard library: they keep their names.
KEPT = {
    ("gateway/api/models/dead_letter_models.py", "letters"),
    ("gateway/api/models/resource_models.py", "seen"),
    ("gateway/formats/arrow_encoding.py", "tell"),  # of a file object
    ("ingest_service/storage/contract/models.py", "letters"),
}
BASES = {
    "analytics": "AnalyticsError",
    "dashboards": "DashboardsError",
    "deploy": "DeployError",
    "edge": "EdgeError",
    "gateway": "GatewayError",
    "ingest_service/pipeline": "IngestError",
    "ingest_service/storage": "StoreError",
}


def sources(*folders: str) -> dict[str, str]:
    """The text of each module by its path."""
    paths = [path for folder in folders for path in sorted((REPOSITORY / folder).rglob("*.py"))]
    return {str(path.relative_to(REPOSITORY)): path.read_text("utf-8") for path in paths}


def has_retired_word(text: str) -> bool:
    """Whether a text has a retired word as a whole name, in code or not: only such modules need parsing."""
    return not RETIRED.isdisjoint(name.strip("_") for name in re.findall(r"\w+", text.lower()))


def defined_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name that a module defines: functions, classes, parameters, variables, attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


@cache
def classes(*folders: str) -> list[tuple[str, ast.ClassDef]]:
    return [
        (path, node)
        for path, text in sources(*folders).items()
        for node in ast.parse(text).body
        if isinstance(node, ast.ClassDef)
    ]


def test_no_retired_word_is_an_identifier() -> None:
    found = [
        f"{path}:{line}: {name}"
        for path, text in sources(*PRODUCT, "benchmarks", "tests/support").items()
        if has_retired_word(text)
        for line, name in defined_names(ast.parse(text))
        if name.strip("_").lower() in RETIRED and (path, name) not in KEPT
    ]
    found += [
        path
        for path in sources(*PRODUCT, "benchmarks", "tests")
        if Path(path).stem in RETIRED and not path.startswith("deploy/commands/")  # named as the commands
    ]
    assert found == []


def test_no_test_is_named_with_a_retired_word() -> None:
    found = [
        f"{path}: {name}"
        for path, text in sources("tests").items()
        for name in re.findall(r"\bdef (test_\w+)\(", text)
        if RETIRED_IN_TESTS.intersection(name.split("_"))
    ]
    assert found == []


def retired_statements(sql: str) -> list[str]:
    """Names of SQL statements (``-- name: sentence``) with a retired word."""
    names = re.findall(r"(?m)^-- ([a-z][a-z0-9_]*): ", sql)
    return [name for name in names if RETIRED.intersection(re.sub("dead_letters?", "", name).split("_"))]


def test_no_retired_word_is_in_the_name_of_an_sql_statement() -> None:
    found = {path.name: retired_statements(path.read_text("utf-8")) for path in STATEMENTS.glob("*.sql")}
    assert found
    assert {name: statements for name, statements in found.items() if statements} == {}
    assert retired_statements("-- count_letters: Number.\nSELECT 1;\n-- count: All.") == ["count_letters"]


@pytest.mark.parametrize(
    "source", ["def told(): ...", "x.said = 1", "def f(*, wanted): ...", "for letter in (): ..."]
)
def test_a_retired_word_is_found(source: str) -> None:
    assert has_retired_word(source)
    assert any(name in RETIRED for _, name in defined_names(ast.parse(source)))


def test_no_two_classes_share_a_name() -> None:
    paths_by_name = defaultdict(list)
    for path, node in classes(*PRODUCT, "benchmarks", "tests"):
        if node.name != "Settings" and not node.name.startswith("_"):
            paths_by_name[node.name].append(path)
    assert {name: paths for name, paths in paths_by_name.items() if len(paths) > 1} == {}


def test_every_error_derives_from_its_packages_base() -> None:
    parents = {
        node.name: {ast.unparse(base).split(".")[-1] for base in node.bases} for _, node in classes(*PRODUCT)
    }

    def ancestors(name: str) -> set[str]:
        return {name}.union(*(ancestors(base) for base in parents.get(name, ())))

    wrong = []
    for path, node in classes(*PRODUCT):
        kinds = ancestors(node.name)
        base = next((base for folder, base in BASES.items() if path.startswith(f"{folder}/")), None)
        if (
            base is not None
            and any(one.endswith(("Error", "Exception")) for one in kinds)
            and base not in kinds
        ):
            wrong.append(f"{path}: {node.name} does not derive from {base}")
    assert wrong == []
