"""Adds security schemes and the answers of refused requests to the OpenAPI description."""

from __future__ import annotations

from copy import deepcopy
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from gateway.access import rights
from gateway.problems import MEDIA_TYPE

if TYPE_CHECKING:
    from fastapi import FastAPI

SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key (tt_…), or a token of the provider"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "A key (tt_…)"},
}
REFUSED = (401, 403, 429)


def install(app: FastAPI) -> None:
    """Say of each operation which role and scope it asks for."""
    described = app.openapi

    def with_rights() -> dict[str, Any]:
        is_new = app.openapi_schema is None
        description = described()
        if is_new:
            description["components"]["securitySchemes"] = SCHEMES
            for path, methods in description["paths"].items():
                for method, operation in methods.items():
                    _show(operation, rights.find(method.upper(), path))
        return description

    app.openapi = with_rights  # type: ignore[method-assign]


def _show(operation: dict[str, Any], found: rights.Found | None) -> None:
    if found is None or found.right.role is None:
        operation["security"] = []
        return
    asked = f"Role {found.right.role.word} or higher" + (
        f", scope `{found.right.scope}`" if found.right.scope else ""
    )
    operation["description"] = f"{operation.get('description', '')}\n\n{asked}.".strip()
    operation["security"] = [{name: []} for name in SCHEMES]
    like = operation["responses"].get("422", {"content": {MEDIA_TYPE: {}}})
    for code in REFUSED:
        operation["responses"].setdefault(
            str(code), deepcopy(like) | {"description": HTTPStatus(code).phrase}
        )
