"""Routes that import networks from files and export them: GeoJSON, CSV, GeoPackage, SWMM and GMNS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, File, Query, Response, UploadFile
from starlette.concurrency import run_in_threadpool

from gateway.api import network_imports, query_params
from gateway.api.models import network_models
from gateway.api.network_parts import part_of_network
from gateway.api.problems import ProblemError, problem_responses
from gateway.api.request_context import CurrentContext
from gateway.auth.authorization import ADMINISTRATOR, VIEWER, RequiredRight, requires
from gateway.network_exchange import ExchangeFormat, NetworkImportOptions

if TYPE_CHECKING:
    from gateway.network_exchange import NetworkAnswer

router = APIRouter(prefix="/v1/twin/network", tags=["twin"])

IMPORT = RequiredRight(ADMINISTRATOR, "twin", requires_all_areas=True)
EXPORT = RequiredRight(VIEWER, "twin", audits_export=True)
MAX_NAMED_PROBLEMS = 20
Short = Annotated[str | None, Query(max_length=200)]


@router.post("/imports", responses=problem_responses(403, 404, 409, 413, 501))
@requires(IMPORT)
async def import_files(
    context: CurrentContext,
    files: Annotated[
        list[UploadFile], File(description="GeoJSON, CSV, GeoPackage, SWMM (.inp), GMNS, .osm.pbf")
    ],
    dry_run: Annotated[  # noqa: FBT002 - a query parameter
        bool, Query(description="Return what would change, and change nothing")
    ] = False,
    area: Annotated[Short, Query(description="Of sites and nodes that are new and have none")] = None,
    network: Annotated[
        Literal["river", "road"] | None, Query(description="Of nodes that are new and have none")
    ] = None,
    speed_m_s: Annotated[
        float | None, Query(ge=1e-3, le=60, description="Of links that are new and have none [m/s]")
    ] = None,
    id_prefix: Annotated[Short, Query(description="Put before the ids of nodes and links")] = None,
    crs: Annotated[Short, Query(description="Coordinate system of a map that names none")] = None,
    valid_from: Annotated[
        query_params.QueryTime | None,
        Query(
            description="Since when the change holds (RFC 3339); without it, what is enrolled is corrected"
        ),
    ] = None,
    replace: Annotated[  # noqa: FBT002 - a query parameter
        bool, Query(description="End nodes and links of the same areas and networks that are in no file")
    ] = False,
) -> network_models.NetworkImportResponse:
    """Add and change nodes and links by files, all or nothing.

    With errors nothing is changed: 422 has each with its file, line and column. `findings` are what the
    import makes wrong without being an error: parts that are not connected, lengths, slopes, sensors.
    """
    options = NetworkImportOptions(
        area_id=area,
        network=network,
        speed_m_s=speed_m_s,
        id_prefix=id_prefix,
        crs=crs,
        valid_from_s=None if valid_from is None else valid_from.timestamp(),
        replaces=replace,
    )
    contents = [(one.filename or "", await one.read()) for one in files]
    answer = await run_in_threadpool(
        network_imports.import_networks, context, contents, options, is_dry_run=dry_run
    )
    _refuse_problems(answer)
    return network_models.NetworkImportResponse(
        dry_run=dry_run,
        changes=[
            network_models.FeatureChangeResponse(**msgspec.structs.asdict(one)) for one in answer.differences
        ],
        findings=network_models.finding_responses(answer.findings),
        notes=answer.notes,
    )


EXPORT_MEDIA_TYPES = (*network_imports.MEDIA_TYPES.values(), "application/zip")
EXPORT_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {one.partition(";")[0]: {} for one in EXPORT_MEDIA_TYPES}}
}


@router.get(
    "/export",
    response_class=Response,
    responses=problem_responses(404, 413, 501) | EXPORT_RESPONSES,
)
@requires(EXPORT)
def export_files(
    context: CurrentContext,
    format_: Annotated[
        ExchangeFormat, Query(alias="format", description="csv and gmns are tables in a ZIP archive")
    ] = "geojson",
    area: query_params.AreaParam = None,
    network: Annotated[Literal["river", "road"] | None, Query(description="One network alone")] = None,
    at: Annotated[
        query_params.QueryTime | None, Query(description="The networks that were valid then; now by default")
    ] = None,
) -> Response:
    """The networks as a file, which an import reads."""
    directory = part_of_network(
        context.directory_index, area, network, None if at is None else at.timestamp()
    )
    exported = network_imports.export_networks(context, directory, format_)
    return Response(
        exported.content,
        media_type=exported.media_type,
        headers={"Content-Disposition": f'attachment; filename="{exported.name}"'},
    )


def _refuse_problems(answer: NetworkAnswer) -> None:
    """Raise `ProblemError` 422 with the problems of the files, if there are any."""
    if answer.problems:
        more = len(answer.problems) - MAX_NAMED_PROBLEMS
        named = answer.problems[:MAX_NAMED_PROBLEMS] + ([f"{more} more problems"] if more > 0 else [])
        raise ProblemError(422, "\n".join(named), where="files")
