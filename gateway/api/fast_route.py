"""FastAPI route class that validates path and query parameters with models built once, at construction.

FastAPI inspects the kind of each parameter with every request, which takes much of a quick request's time.
Accepted values, rejected values and the OpenAPI description are the same here (`docs/decisions/0017`).
"""

from __future__ import annotations

import asyncio
import inspect
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, get_args, get_origin

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import ValidationError, create_model

from gateway.api.problems import ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fastapi.dependencies.models import Dependant
    from starlette.types import ASGIApp, Receive, Scope, Send

_ENDPOINT_THREADS = ThreadPoolExecutor(40, "endpoint")  # as many as FastAPI's


class FastRoute(APIRoute):
    """Route with a pre-built parameter validator for endpoints that return `Response`; else as FastAPI's.

    Raises TypeError on construction where such an endpoint has other parameters than those of path and query.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        if inspect.get_annotations(endpoint, eval_str=True).get("return") is Response:
            self.app = _fast_app(self.dependant, endpoint)


def _fast_app(dependant: Dependant, endpoint: Callable[..., Response]) -> ASGIApp:
    dependency_readers = [_ParameterReader(one) for one in dependant.dependencies]
    endpoint_reader = _ParameterReader(dependant)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        errors: list[Any] = []
        dependency_values = [one.read(request, errors) for one in dependency_readers]
        values = endpoint_reader.read(request, errors)
        if errors:
            raise RequestValidationError(errors)
        for dependency_reader, values_read in zip(dependency_readers, dependency_values, strict=True):
            values[dependency_reader.name] = await dependency_reader.call(request, **values_read)
        response = await asyncio.get_running_loop().run_in_executor(
            _ENDPOINT_THREADS, partial(endpoint, **values)
        )
        await response(scope, receive, send)

    return app


def reject_unknown_parameters(request: Request) -> None:
    """Raise `ProblemError` for unknown or repeated query parameters: an ignored filter passes all rows."""
    given = request.query_params.multi_items()
    if not given:
        return
    route = request.scope["route"]
    if (known_names := _KNOWN_PARAMETERS.get(route.endpoint)) is None:
        known_names = _KNOWN_PARAMETERS[route.endpoint] = _query_parameters(route.dependant)
    names = [name for name, _ in given]
    for name in names:
        if name not in known_names:
            available = f"there are {', '.join(sorted(known_names))}" if known_names else "there are none"
            raise ProblemError(422, f"query: there is no parameter {name!r}; {available}", where=name)
        if not known_names[name] and names.count(name) > 1:
            raise ProblemError(422, f"query {name}: give it once", where=name)


_KNOWN_PARAMETERS: dict[Callable[..., Any], dict[str, bool]] = {}  # by endpoint: routes are not hashable


def _query_parameters(dependant: Dependant) -> dict[str, bool]:
    """Return the names of the query parameters, and whether each is repeatable."""
    allows_repeat = {_alias(one): _is_list(one.field_info.annotation) for one in dependant.query_params}
    for one in dependant.dependencies:
        allows_repeat |= _query_parameters(one)
    return allows_repeat


class _ParameterReader:
    """Reads and validates the path and query parameters of one endpoint or dependency."""

    def __init__(self, dependant: Dependant) -> None:
        if dependant.body_params or dependant.header_params or dependant.cookie_params:
            raise TypeError(f"{dependant.call}: only queries and paths are read here")
        self.name = dependant.name or ""
        self.call: Callable[..., Any] = dependant.call  # type: ignore[assignment]
        fields = {_alias(one): one for one in (*dependant.path_params, *dependant.query_params)}
        self._path_names = {_alias(one) for one in dependant.path_params}
        self._query_names = fields.keys() - self._path_names
        self._repeatable = {alias for alias, one in fields.items() if _is_list(one.field_info.annotation)}
        self._model = create_model("Parameters", **_model_fields(fields.values())) if fields else None

    def read(self, request: Request, errors: list[Any]) -> dict[str, Any]:
        """Return the parameters by name; validation errors are appended to ``errors``."""
        if self._model is None:
            return {}
        given: dict[str, Any] = {name: request.path_params[name] for name in self._path_names}
        for name, value in request.query_params.multi_items():
            if name in self._repeatable:
                given.setdefault(name, []).append(value)
            elif name in self._query_names:
                given[name] = value
        try:
            return dict(self._model.model_validate(given))
        except ValidationError as error:
            for one in error.errors(include_url=False):
                location = "path" if one["loc"][0] in self._path_names else "query"
                errors.append(one | {"loc": (location, *one["loc"])})
            return {}


def _model_fields(fields: Iterable[Any]) -> dict[str, Any]:
    return {one.name: (one.field_info.annotation, one.field_info) for one in fields}


def _alias(field: Any) -> str:
    return str(field.field_info.validation_alias or field.alias)


def _is_list(annotation: Any) -> bool:
    """Whether a parameter is repeatable.

    >>> _is_list(list[int] | None), _is_list(str)
    (True, False)
    """
    return get_origin(annotation) is list or any(get_origin(one) is list for one in get_args(annotation))
