"""Writes the generated pages of the documentation site: modules, HTTP API, errors, Python reference.

``conf.py`` calls `write` before Sphinx reads its sources. Modules are read as text; the HTTP API comes from
the OpenAPI description of the application itself, so that no page repeats what the code already states.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("edge", "ingest_service", "analytics", "gateway", "towntwin", "dashboards", "deploy")
# What others build on. Everything else is listed in the map of modules alone.
REFERENCE = (
    "towntwin",
    "edge/wire",
    "edge/drivers",
    "analytics/core",
    "analytics/twin",
    "analytics/assessments",
)
METHODS = ("get", "post", "put", "patch", "delete")


def write(folder: Path) -> None:
    """Write all generated pages into a folder."""
    folder.mkdir(exist_ok=True)
    pages = {
        "modules.md": _module_map(),
        "http-api.md": _http_api(),
        "errors.md": _errors(),
        "python.rst": _python_reference(),
    }
    for name, lines in pages.items():
        text = "\n".join(lines) + "\n"
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:  # Sphinx reads again what is newer
            path.write_text(text, encoding="utf-8")


def _module_map() -> Iterator[str]:
    yield "# Map of modules"
    yield ""
    yield "Every module with the first sentence of its docstring, by package."
    for package in PACKAGES:
        for folder in sorted({path.parent for path in (ROOT / package).rglob("*.py")}):
            rows = [
                (path.stem, _first_sentence(path))
                for path in sorted(folder.glob("*.py"))
                if path.name != "__init__.py"
            ]
            if not rows:
                continue
            yield f"\n## `{folder.relative_to(ROOT)}`\n"
            introduction = _first_sentence(folder / "__init__.py")
            if introduction:
                yield f"{introduction}\n"
            yield "| Module | What it does |"
            yield "|---|---|"
            for stem, sentence in rows:
                yield f"| `{stem}` | {_cell(sentence)} |"


def _first_sentence(path: Path) -> str:
    """Return the first paragraph of a module's docstring on one line; nothing where there is none."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) if path.exists() else None
    return " ".join((text or "").split("\n\n")[0].split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _http_api() -> Iterator[str]:
    description = _openapi()
    yield "# HTTP API"
    yield ""
    yield "From the OpenAPI description, which the gateway serves at `/openapi.json` and shows at `/docs`."
    for path, operations in sorted(description["paths"].items()):
        for method in METHODS:
            if method not in operations:
                continue
            operation = operations[method]
            yield f"\n## {method.upper()} `{path}`\n"
            yield _cell(str(operation.get("description") or operation.get("summary") or ""))
            parameters = operation.get("parameters", [])
            if parameters:
                yield "\n| Parameter | In | Required | Meaning |"
                yield "|---|---|---|---|"
                for one in parameters:
                    meaning = " ".join(str(one.get("description", "")).split())
                    required = "yes" if one.get("required") else ""
                    yield f"| `{one['name']}` | {one['in']} | {required} | {_cell(meaning)} |"


def _openapi() -> dict[str, Any]:
    from gateway.app import create_app  # noqa: PLC0415 - the path above comes first
    from ingest_service.storage.memory.store import MemoryStore  # noqa: PLC0415
    from tests.support.gateway_access import ACCOUNTS  # noqa: PLC0415

    description: dict[str, Any] = create_app(MemoryStore(), console=False, accounts=ACCOUNTS).openapi()
    return description


def _errors() -> Iterator[str]:
    yield "# Errors"
    yield ""
    yield "Every exception, with the module that defines it. Over HTTP each becomes a problem (RFC 9457)."
    yield "\n| Exception | Module | Meaning |"
    yield "|---|---|---|"
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef) and _is_error(node):
                    sentence = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
                    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                    yield f"| `{node.name}` | `{module}` | {_cell(sentence)} |"


def _is_error(node: ast.ClassDef) -> bool:
    return any(
        isinstance(base, ast.Name | ast.Attribute) and ast.unparse(base).endswith(("Error", "Exception"))
        for base in node.bases
    )


def _python_reference() -> Iterator[str]:
    yield "Python reference"
    yield "================"
    yield ""
    yield "The wire contract, the drivers, the numerical core and the client."
    for folder in REFERENCE:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.name == "__init__.py":
                continue
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield f"\n{module}\n{'-' * len(module)}\n\n.. automodule:: {module}"
            imported = ", ".join(sorted(_imported(path)))  # documented where they are defined
            yield f"   :exclude-members: {imported}\n" if imported else ""


def _imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))
    return {alias.asname or alias.name.partition(".")[0] for node in imports for alias in node.names}
