"""Routes of the SensorThings API."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from gateway.access.proxies import public_base_url
from gateway.context import Context, Here
from gateway.problems import ProblemError, responses
from gateway.sta import describe, options, render
from gateway.sta import path as paths
from gateway.sta.conformance import CONFORMANCE
from gateway.sta.kinds import KINDS
from gateway.sta.pages import Pager
from gateway.sta.path import Property, Source
from gateway.sta.render import Renderer
from gateway.sta.world import World
from ingest_service.storage.sensorthings import QueryRefused, QueryTimeout, SensorThings

PREFIX = "/sta/v1.1"
LONGEST = 20_000
READ_ONLY = "this façade only reads: devices publish over MQTT, and the directory is enrolled from site files"

router = APIRouter(prefix=PREFIX, tags=["SensorThings"])


@router.get("", include_in_schema=False)
@router.get("/", summary="SensorThings service document", responses=responses())
def service(request: Request) -> dict[str, Any]:
    """The entity sets, and the requirements of OGC SensorThings API 1.1 (18-088) that are kept."""
    return render.service(_root(request), KINDS, CONFORMANCE)


@router.get(
    "/{path:path}",
    summary="SensorThings resource",
    response_class=Response,
    responses=responses(400, 404, 501)
    | {
        200: {"content": {"application/json": {"schema": {}}, "text/plain": {"schema": {"type": "string"}}}},
        204: {"description": "The property is null"},
    },
)
def resource(request: Request, here: Here, path: str) -> Response:
    """Entities, properties and links by resource path, with $filter, $expand, $select, $orderby and the rest.

    See docs/howto/sensorthings.md.
    """
    if len(request.url.query) > LONGEST:
        raise ProblemError(400, f"the query is longer than {LONGEST:,} characters")
    try:
        return _answer(request, here, path.rstrip("/"))
    except QueryRefused as error:
        raise ProblemError(400, str(error)) from error
    except QueryTimeout as error:
        raise ProblemError(504, str(error)) from error


@router.api_route("/{path:path}", methods=["POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
def change(path: str) -> None:
    """Nothing is changed here."""
    raise ProblemError(501, paths.ELSEWHERE.get(path, READ_ONLY))


def _answer(request: Request, here: Context, path: str) -> Response:
    reader = SensorThings(here.database, meanings=describe.MEANINGS, rules=describe.RULES)
    with reader.session():
        return _read(request, here, path, World(here.known, reader))


def _read(request: Request, here: Context, path: str, world: World) -> Response:
    found = paths.resolve(path, world)
    what, root = found.what, _root(request)
    if isinstance(what, Property):
        if any(name.startswith("$") for name, _ in options.options(request.url.query)):
            raise ProblemError(400, "a property takes no query options")
        return _property(what)
    query = options.read(request.url.query, what.kind, many=isinstance(what, Source))
    renderer = Renderer(root, world, Pager(world), here.settings.page_rows)
    address = f"{root}/{render.quoted_path(path)}"
    if query.data_array and found.references:
        raise ProblemError(400, "$resultFormat: links have no dataArray", where="$resultFormat")
    try:
        return _rendered(renderer, found, query, address)
    finally:
        if here.visit is not None:  # a table of readings is an export, and so are pages that come to as much
            here.visit.rows += renderer.observations
            here.visit.is_export = query.data_array


def _rendered(renderer: Renderer, found: paths.Resource, query: options.Query, address: str) -> Response:
    what = found.what
    if isinstance(what, Source):
        write = renderer.references if found.references else renderer.set
        return _json((renderer.data_array if query.data_array else write)(what, query, address))
    if found.references:
        return _json({"value": [{"@iot.selfLink": renderer.self_link(what)}]})  # type: ignore[arg-type]
    return _json(renderer.entity(what, query))  # type: ignore[arg-type]


def _property(found: Property) -> Response:
    value = render.written(found.value)
    if value is None:
        return Response(status_code=204)
    if not found.raw:
        return _json({found.name: value})
    if isinstance(value, dict | list):
        return _json(value)
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return Response(text, media_type="text/plain")


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _root(request: Request) -> str:
    return public_base_url(request) + PREFIX
