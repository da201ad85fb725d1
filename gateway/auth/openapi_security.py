"""Adds security schemes, required roles and the 401, 403 and 429 responses to the OpenAPI description."""

from __future__ import annotations

from copy import deepcopy
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from gateway.api.problems import PROBLEM_MEDIA_TYPE

if TYPE_CHECKING:
    from fastapi import FastAPI

    from gateway.auth.authorization import MatchedRoute, RouteRights

SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key (tt_…), or a token of the provider"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "A key (tt_…)"},
}
REJECTION_STATUSES = (401, 403, 429)


def add_security_to_openapi(app: FastAPI, route_rights: RouteRights) -> None:
    """Add to each operation the role and scope that it requires."""
    generate_openapi = app.openapi

    def openapi_with_rights() -> dict[str, Any]:
        is_new = app.openapi_schema is None
        description = generate_openapi()
        if is_new:
            description["components"]["securitySchemes"] = SECURITY_SCHEMES
            for path, methods in description["paths"].items():
                for method, operation in methods.items():
                    _describe_operation(operation, route_rights.match(method.upper(), path))
        return description

    app.openapi = openapi_with_rights  # type: ignore[method-assign]


def _describe_operation(operation: dict[str, Any], matched_route: MatchedRoute | None) -> None:
    if matched_route is None or matched_route.right.role is None:
        operation["security"] = []
        return
    requirement = f"Role {matched_route.right.role.role_name} or higher" + (
        f", scope `{matched_route.right.scope}`" if matched_route.right.scope else ""
    )
    operation["description"] = f"{operation.get('description', '')}\n\n{requirement}.".strip()
    operation["security"] = [{name: []} for name in SECURITY_SCHEMES]
    template_response = operation["responses"].get("422", {"content": {PROBLEM_MEDIA_TYPE: {}}})
    for code in REJECTION_STATUSES:
        operation["responses"].setdefault(
            str(code), deepcopy(template_response) | {"description": HTTPStatus(code).phrase}
        )
