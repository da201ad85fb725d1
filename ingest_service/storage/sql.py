"""Loads named SQL statements from the files in queries/; each starts with a line ``-- name: a sentence``.

``{{name}}`` is replaced by an earlier statement of the same file, so that a shared part is written once.
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import LiteralString

_PART = re.compile(r"\{\{(?P<name>[a-z][a-z0-9_]*)\}\}")
_HEAD = re.compile(r"^-- (?P<name>[a-z][a-z0-9_]*): (?P<sentence>.+)$", re.MULTILINE)


def text(path: str, package: str = "ingest_service.storage") -> LiteralString:
    """Read a file of a package; its content is trusted, so psycopg may treat it as a literal."""
    return files(package).joinpath(path).read_text("utf-8")


def load(path: str, package: str = "ingest_service.storage") -> dict[str, LiteralString]:
    """Load the statements of a file by name. Raises ValueError on a duplicate or an unknown name."""
    whole = text(path, package)
    heads = list(_HEAD.finditer(whole))
    ends = [head.start() for head in heads[1:]] + [len(whole)]
    statements: dict[str, LiteralString] = {}
    for head, end in zip(heads, ends, strict=True):
        if head["name"] in statements:
            raise ValueError(f"{path}: {head['name']} stands twice")
        try:
            statement = _PART.sub(lambda part: statements[part["name"]], whole[head.end() : end])
        except KeyError as error:
            raise ValueError(f"{path}: {head['name']} takes {error}, which was not named before") from error
        statements[head["name"]] = statement.strip().rstrip(";")
    return statements


def load_folder(path: str, package: str = "ingest_service.storage") -> dict[str, LiteralString]:
    """Load the statements of every file of a folder by name. Raises ValueError on a duplicate name."""
    statements: dict[str, LiteralString] = {}
    for file in sorted(one.name for one in files(package).joinpath(path).iterdir()):
        found = load(f"{path}/{file}", package)
        if twice := statements.keys() & found.keys():
            raise ValueError(f"{path}/{file}: {', '.join(sorted(twice))} stands in another file, too")
        statements |= found
    return statements


QUERIES = load_folder("queries")
