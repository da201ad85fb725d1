"""A route class that reads all parameters with one validator, built when the route is built.

FastAPI finds out with every request what kind each parameter is, and that takes a good part of a quick
request's time. What is accepted, refused and documented is the same here (`docs/decisions/0017`).
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

from gateway.problems import ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fastapi.dependencies.models import Dependant
    from starlette.types import ASGIApp, Receive, Scope, Send

_THREADS = ThreadPoolExecutor(40, "asked")  # as many as FastAPI's


class Route(APIRoute):
    """Quick where an endpoint says that it returns a `Response`, and asks for nothing but what a GET has.

    Raises TypeError, when it is made, where such an endpoint asks for more.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        if inspect.get_annotations(endpoint, eval_str=True).get("return") is Response:
            self.app = _quick(self.dependant, endpoint)


def _quick(dependant: Dependant, endpoint: Callable[..., Response]) -> ASGIApp:
    others = [_Reader(one) for one in dependant.dependencies]
    own = _Reader(dependant)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        wrong: list[Any] = []
        asked = [one.read(request, wrong) for one in others]
        values = own.read(request, wrong)
        if wrong:
            raise RequestValidationError(wrong)
        for other, its in zip(others, asked, strict=True):
            values[other.name] = await other.call(request, **its)
        response = await asyncio.get_running_loop().run_in_executor(_THREADS, partial(endpoint, **values))
        await response(scope, receive, send)

    return app


def check(request: Request) -> None:
    """Raises `ProblemError` where a parameter means nothing: a filter unheard would let everything by."""
    told = request.query_params.multi_items()
    if not told:
        return
    route = request.scope["route"]
    if (known := _PARAMETERS.get(route.endpoint)) is None:
        known = _PARAMETERS[route.endpoint] = _parameters(route.dependant)
    names = [name for name, _ in told]
    for name in names:
        if name not in known:
            there = f"there are {', '.join(sorted(known))}" if known else "there are none"
            raise ProblemError(422, f"query: there is no parameter {name!r}; {there}", where=name)
        if not known[name] and names.count(name) > 1:
            raise ProblemError(422, f"query {name}: give it once", where=name)


_PARAMETERS: dict[Callable[..., Any], dict[str, bool]] = {}  # by endpoint, for a route has no hash


def _parameters(dependant: Dependant) -> dict[str, bool]:
    """The parameters of a query, and whether each may stand several times."""
    found = {_alias(one): _is_list(one.field_info.annotation) for one in dependant.query_params}
    for one in dependant.dependencies:
        found |= _parameters(one)
    return found


class _Reader:
    """Reads the parameters of one function."""

    def __init__(self, dependant: Dependant) -> None:
        if dependant.body_params or dependant.header_params or dependant.cookie_params:
            raise TypeError(f"{dependant.call}: only queries and paths are read here")
        self.name = dependant.name or ""
        self.call: Callable[..., Any] = dependant.call  # type: ignore[assignment]
        fields = {_alias(one): one for one in (*dependant.path_params, *dependant.query_params)}
        self._in_path = {_alias(one) for one in dependant.path_params}
        self._in_query = fields.keys() - self._in_path
        self._lists = {alias for alias, one in fields.items() if _is_list(one.field_info.annotation)}
        self._model = create_model("Asked", **_definitions(fields.values())) if fields else None

    def read(self, request: Request, wrong: list[Any]) -> dict[str, Any]:
        """The parameters by name; what is wrong with them is added to a list."""
        if self._model is None:
            return {}
        told: dict[str, Any] = {name: request.path_params[name] for name in self._in_path}
        for name, value in request.query_params.multi_items():
            if name in self._lists:
                told.setdefault(name, []).append(value)
            elif name in self._in_query:
                told[name] = value
        try:
            return dict(self._model.model_validate(told))
        except ValidationError as error:
            for one in error.errors(include_url=False):
                place = "path" if one["loc"][0] in self._in_path else "query"
                wrong.append(one | {"loc": (place, *one["loc"])})
            return {}


def _definitions(fields: Iterable[Any]) -> dict[str, Any]:
    return {one.name: (one.field_info.annotation, one.field_info) for one in fields}


def _alias(field: Any) -> str:
    return str(field.field_info.validation_alias or field.alias)


def _is_list(annotation: Any) -> bool:
    """Whether a parameter may stand several times.

    >>> _is_list(list[int] | None), _is_list(str)
    (True, False)
    """
    return get_origin(annotation) is list or any(get_origin(one) is list for one in get_args(annotation))
