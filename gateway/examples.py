"""Examples of every operation for the OpenAPI description, recorded from a gateway with the demo towns.

`examples.json` is written by ``python -m tests.support.examples``; a test asks all of it again.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from fastapi import FastAPI


class Example(TypedDict):
    """A request (path and query, and a body where it has one) and its answer."""

    request: str
    body: NotRequired[Any]
    answer: Any


def load() -> dict[str, Example]:
    """Examples by operation, as ``GET /v1/anomalies``."""
    loaded: dict[str, Example] = json.loads(files("gateway").joinpath("examples.json").read_text("utf-8"))
    return loaded


def install(app: FastAPI) -> None:
    """Show the examples in the OpenAPI description."""
    described = app.openapi

    def with_examples() -> dict[str, Any]:
        if app.openapi_schema is None:
            for name, example in load().items():
                method, path = name.split(" ")
                operation = described()["paths"].get(path, {}).get(method.lower())
                if operation is not None:
                    _show(operation, path, example)
        return described()

    app.openapi = with_examples  # type: ignore[method-assign]


def _show(operation: dict[str, Any], path: str, example: Example) -> None:
    asked = urlsplit(example["request"])
    values: dict[str, Any] = dict(parse_qsl(asked.query))
    parts = zip(path.split("/"), asked.path.split("/"), strict=True)
    values |= {part.strip("{}"): value for part, value in parts if part.startswith("{")}
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in values:
            parameter["example"] = _typed(values[parameter["name"]], parameter["schema"])
    if "body" in example:
        operation["requestBody"]["content"]["application/json"]["example"] = example["body"]
    for media, content in operation["responses"]["200"].get("content", {}).items():
        if media.endswith("json"):
            content["example"] = example["answer"]
    operation["x-request"] = example["request"]


def _typed(word: str, schema: dict[str, Any]) -> Any:
    kinds = [one.get("type") for one in (schema, *schema.get("anyOf", ()))]
    if "array" in kinds:
        return [int(word) if word.isdigit() else word]
    if "integer" in kinds:
        return int(word)
    return float(word) if "number" in kinds else word
