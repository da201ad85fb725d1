"""Every name in the sections "Parameters" and "Attributes" of a docstring is in the code it describes."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[2]
PRODUCT = ("analytics", "dashboards", "deploy", "edge", "gateway", "ingest_service", "towntwin")
_SECTION = r"^{}\n-+\n(?P<lines>.*?)(?=^\S[^\n]*\n-{{3,}}$|\Z)"
_ENTRY = re.compile(r"^(?P<names>\*{0,2}\w+(?:, \*{0,2}\w+)*) ?:(?!:)", re.MULTILINE)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def documented_names(docstring: str, section_name: str) -> list[str]:
    """Names of the entries of a numpydoc section."""
    section = re.search(_SECTION.format(section_name), docstring, re.MULTILINE | re.DOTALL)
    entries = _ENTRY.finditer(section["lines"]) if section else ()
    return [name.lstrip("*") for entry in entries for name in entry["names"].split(", ")]


def parameters(node: Function) -> set[str]:
    arguments = node.args
    all_arguments = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    all_arguments += [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
    return {one.arg for one in all_arguments}


def parameters_or_fields(node: ast.ClassDef) -> set[str]:
    """Parameters of the constructor, or annotated fields of a data class."""
    names = {
        one.target.id
        for one in node.body
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
    }
    for one in node.body:
        if isinstance(one, Function) and one.name in {"__init__", "__new__"}:
            names |= parameters(one)
    return names


def attributes(node: ast.ClassDef) -> set[str]:
    """Every name that a class defines or assigns: fields, properties, attributes of instances."""
    defined: set[str] = set()
    for one in ast.walk(node):
        if isinstance(one, ast.Name):
            defined.add(one.id)
        elif isinstance(one, ast.Attribute):
            defined.add(one.attr)
        elif isinstance(one, Function):
            defined.add(one.name)
    return defined


def unknown_names(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Line, definition, and name of each documented parameter or attribute that its definition lacks."""
    for node in ast.walk(tree):
        if not isinstance(node, Function | ast.ClassDef):
            continue
        docstring = ast.get_docstring(node) or ""
        names = parameters_or_fields(node) if isinstance(node, ast.ClassDef) else parameters(node)
        is_inherited = isinstance(node, ast.ClassDef) and not names and node.bases  # its constructor
        documented = [] if is_inherited else documented_names(docstring, "Parameters")
        unknown = [name for name in documented if name not in names]
        if isinstance(node, ast.ClassDef):
            known = attributes(node)
            unknown += [name for name in documented_names(docstring, "Attributes") if name not in known]
        for name in unknown:
            yield node.lineno, node.name, name


def test_every_documented_parameter_and_attribute_is_in_the_code() -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{line}: {definition} has no {name}"
        for folder in PRODUCT
        for path in sorted((REPOSITORY / folder).rglob("*.py"))
        for line, definition, name in unknown_names(ast.parse(path.read_text("utf-8")))
    ]
    assert found == []


def test_an_unknown_parameter_or_attribute_is_found() -> None:
    source = '''
def take(limit, *rest):
    """Take.

    Parameters
    ----------
    most, limit : number
    *rest : others

    Notes
    -----
    other : is no parameter

    """

class Taken:
    """What was taken.

    Attributes
    ----------
    count, most : numbers

    """

    count: int
'''
    assert [name for _, _, name in unknown_names(ast.parse(source))] == ["most", "most"]
