"""Loads named SQL statements from the files in queries/; each starts with a line ``-- name: a sentence``.

``{{name}}`` is replaced by an earlier statement, of the same file or of one before it in the alphabet, so
that a shared part is written once.
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING, LiteralString

if TYPE_CHECKING:
    from collections.abc import Mapping

_REFERENCE = re.compile(r"\{\{(?P<name>[a-z][a-z0-9_]*)\}\}")
_QUERY_HEADER = re.compile(r"^-- (?P<name>[a-z][a-z0-9_]*): (?P<sentence>.+)$", re.MULTILINE)


def read_sql_file(path: str, package: str = "ingest_service.storage.postgres") -> LiteralString:
    """Read a file of a package; its content is trusted, so psycopg may treat it as a literal."""
    return files(package).joinpath(path).read_text("utf-8")


def load_queries(
    path: str,
    package: str = "ingest_service.storage.postgres",
    *,
    earlier: Mapping[str, LiteralString] | None = None,
) -> dict[str, LiteralString]:
    """Load the statements of a file by name; they may refer to ``earlier`` ones, of other files.

    Raises ValueError on a duplicate or an unknown name.
    """
    earlier = earlier or {}
    file_text = read_sql_file(path, package)
    headers = list(_QUERY_HEADER.finditer(file_text))
    ends = [header.start() for header in headers[1:]] + [len(file_text)]
    statements: dict[str, LiteralString] = {}
    for header, end in zip(headers, ends, strict=True):
        if header["name"] in statements:
            raise ValueError(f"{path}: {header['name']} stands twice")
        try:
            statement = _REFERENCE.sub(
                lambda part: {**earlier, **statements}[part["name"]], file_text[header.end() : end]
            )
        except KeyError as error:
            raise ValueError(f"{path}: {header['name']} takes {error}, which was not named before") from error
        statements[header["name"]] = statement.strip().rstrip(";")
    return statements


def load_query_folder(
    path: str, package: str = "ingest_service.storage.postgres"
) -> dict[str, LiteralString]:
    """Load the statements of every file of a folder, by its name; later files may refer to earlier ones.

    Raises ValueError on a duplicate name.
    """
    statements: dict[str, LiteralString] = {}
    for file in sorted(one.name for one in files(package).joinpath(path).iterdir()):
        file_queries = load_queries(f"{path}/{file}", package, earlier=statements)
        if duplicates := statements.keys() & file_queries.keys():
            raise ValueError(f"{path}/{file}: {', '.join(sorted(duplicates))} stands in another file, too")
        statements |= file_queries
    return statements


QUERIES = load_query_folder("queries")
