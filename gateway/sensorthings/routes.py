"""HTTP routes of the read-only SensorThings API: service document and resources."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from gateway.api.problems import ProblemError, problem_responses
from gateway.api.request_context import CurrentContext, RequestContext
from gateway.auth.authorization import SENSORTHINGS, requires
from gateway.sensorthings import entity_properties, query_options, rendering, resource_path
from gateway.sensorthings.conformance import IMPLEMENTED_REQUIREMENTS
from gateway.sensorthings.entity_model import EntityModel
from gateway.sensorthings.entity_types import ENTITY_TYPES
from gateway.sensorthings.paging import Pager
from gateway.sensorthings.rendering import EntityRenderer
from gateway.sensorthings.resource_path import EntitySet, PropertyValue
from gateway.transport.forwarded_headers import public_base_url
from ingest_service.storage.postgres.observations import (
    ObservationReader,
    QueryRefusedError,
    QueryTimeoutError,
)

URL_PREFIX = "/sta/v1.1"
MAX_QUERY_LENGTH = 20_000
READ_ONLY_DETAIL = (
    "this façade only reads: devices publish over MQTT, and the directory is enrolled from site files"
)

router = APIRouter(prefix=URL_PREFIX, tags=["SensorThings"])


@router.get("", include_in_schema=False)
@router.get("/", summary="SensorThings service document", responses=problem_responses())
@requires(SENSORTHINGS)
def service(request: Request) -> dict[str, Any]:
    """The entity sets, and the requirements of OGC SensorThings API 1.1 (18-088) that are met."""
    return rendering.service_document(_root_url(request), ENTITY_TYPES, IMPLEMENTED_REQUIREMENTS)


@router.get(
    "/{path:path}",
    summary="SensorThings resource",
    response_class=Response,
    responses=problem_responses(400, 404, 501)
    | {
        200: {"content": {"application/json": {"schema": {}}, "text/plain": {"schema": {"type": "string"}}}},
        204: {"description": "The property is null"},
    },
)
@requires(SENSORTHINGS)
def resource(request: Request, context: CurrentContext, path: str) -> Response:
    """Entities, properties and links by resource path, with $filter, $expand, $select, $orderby and the rest.

    See docs/howto/sensorthings.md.
    """
    if len(request.url.query) > MAX_QUERY_LENGTH:
        raise ProblemError(400, f"the query is longer than {MAX_QUERY_LENGTH:,} characters")
    try:
        return _open_and_answer(request, context, path.rstrip("/"))
    except QueryRefusedError as error:
        raise ProblemError(400, str(error)) from error
    except QueryTimeoutError as error:
        raise ProblemError(504, str(error)) from error


@router.api_route("/{path:path}", methods=["POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
@requires(SENSORTHINGS)
def reject_change(path: str) -> None:
    """Reject every write: the API is read-only."""
    raise ProblemError(501, resource_path.UNSUPPORTED_DETAILS.get(path, READ_ONLY_DETAIL))


def _open_and_answer(request: Request, context: RequestContext, path: str) -> Response:
    reader = ObservationReader(
        context.history_database(),
        meanings=entity_properties.FLAG_MEANINGS,
        rules=entity_properties.RULE_NAMES,
    )
    with reader.session():
        return _respond_to_path(request, context, path, EntityModel(context.directory_index, reader))


def _respond_to_path(
    request: Request, context: RequestContext, path: str, entity_model: EntityModel
) -> Response:
    resolved = resource_path.resolve_path(path, entity_model)
    target_resource, root = resolved.target_resource, _root_url(request)
    if isinstance(target_resource, PropertyValue):
        if any(name.startswith("$") for name, _ in query_options.split_query_string(request.url.query)):
            raise ProblemError(400, "a property takes no query options")
        return _property_response(target_resource)
    query = query_options.parse_query_options(
        request.url.query, target_resource.kind, to_many=isinstance(target_resource, EntitySet)
    )
    renderer = EntityRenderer(root, entity_model, Pager(entity_model), context.settings.page_rows)
    set_url = f"{root}/{rendering.quote_path(path)}"
    if query.data_array and resolved.references:
        raise ProblemError(400, "$resultFormat: links have no dataArray", where="$resultFormat")
    try:
        return _render_resource(renderer, resolved, query, set_url)
    finally:
        # For the audit: a data array is an export, and so are pages with as many rows.
        if context.auth is not None:
            context.auth.rows += renderer.observations
            context.auth.is_export = query.data_array


def _render_resource(
    renderer: EntityRenderer,
    resolved: resource_path.ResolvedResource,
    query: query_options.QueryOptions,
    set_url: str,
) -> Response:
    target_resource = resolved.target_resource
    if isinstance(target_resource, EntitySet):
        render = renderer.render_references if resolved.references else renderer.render_set
        return _json_response(
            (renderer.render_data_array if query.data_array else render)(target_resource, query, set_url)
        )
    if resolved.references:
        return _json_response({"value": [{"@iot.selfLink": renderer.self_link(target_resource)}]})  # type: ignore[arg-type]
    return _json_response(renderer.render_entity(target_resource, query))  # type: ignore[arg-type]


def _property_response(resolved: PropertyValue) -> Response:
    value = rendering.json_value(resolved.value)
    if value is None:
        return Response(status_code=204)
    if not resolved.is_raw:
        return _json_response({resolved.name: value})
    if isinstance(value, dict | list):
        return _json_response(value)
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return Response(text, media_type="text/plain")


def _json_response(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _root_url(request: Request) -> str:
    return public_base_url(request) + URL_PREFIX
