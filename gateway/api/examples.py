"""Adds recorded request and response examples of every operation to the OpenAPI description.

They were recorded from a gateway with the demo towns: ``python -m tests.support.api_example_writer`` writes
`examples.json`, and a test repeats every request.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from fastapi import FastAPI


class ApiExample(TypedDict):
    """A request (path and query, and a body where it has one) and its response."""

    request: str
    body: NotRequired[Any]
    answer: Any


def load_examples() -> dict[str, ApiExample]:
    """Load the examples by operation (``GET /v1/anomalies``)."""
    examples_by_operation: dict[str, ApiExample] = json.loads(
        files("gateway.api").joinpath("examples.json").read_text("utf-8")
    )
    return examples_by_operation


def add_examples_to_openapi(app: FastAPI) -> None:
    """Extend an application's OpenAPI description by the examples."""
    generate_openapi = app.openapi

    def openapi_with_examples() -> dict[str, Any]:
        if app.openapi_schema is None:
            for name, example in load_examples().items():
                method, path = name.split(" ")
                operation = generate_openapi()["paths"].get(path, {}).get(method.lower())
                if operation is not None:
                    _add_example(operation, path, example)
        return generate_openapi()

    app.openapi = openapi_with_examples  # type: ignore[method-assign]


def _add_example(operation: dict[str, Any], path: str, example: ApiExample) -> None:
    request_url = urlsplit(example["request"])
    values: dict[str, Any] = dict(parse_qsl(request_url.query))
    parts = zip(path.split("/"), request_url.path.split("/"), strict=True)
    values |= {part.strip("{}"): value for part, value in parts if part.startswith("{")}
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in values:
            parameter["example"] = _parse_parameter(values[parameter["name"]], parameter["schema"])
    if "body" in example:
        operation["requestBody"]["content"]["application/json"]["example"] = example["body"]
    for media, content in operation["responses"]["200"].get("content", {}).items():
        if media.endswith("json"):
            content["example"] = example["answer"]
    operation["x-request"] = example["request"]


def _parse_parameter(text: str, schema: dict[str, Any]) -> Any:
    kinds = [one.get("type") for one in (schema, *schema.get("anyOf", ()))]
    if "array" in kinds:
        return [int(text) if text.isdigit() else text]
    if "integer" in kinds:
        return int(text)
    return float(text) if "number" in kinds else text
