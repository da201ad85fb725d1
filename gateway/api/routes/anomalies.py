"""Routes that list and filter anomalies, return one, and trace one upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from fastapi import APIRouter, Query, Response
from pydantic import Field

from analytics.service import missing_results, network_state, source_posterior
from gateway.api import fast_route, network_distance, query_params, snapshots
from gateway.api.directory_cache import DirectoryIndex
from gateway.api.models import conversion, resource_models
from gateway.api.problems import ProblemError, not_found, problem_responses
from gateway.api.request_context import CurrentContext, RequestContext
from gateway.auth.authorization import ANOMALIES, requires
from gateway.formats import arrow_tables, streaming_response
from gateway.formats.negotiation import RequestedFormat, format_responses
from ingest_service.storage.contract.models import Anomaly, AnomalyQuery
from ingest_service.storage.postgres.incidents import Incidents
from ingest_service.storage.postgres.query_api import PageRetry
from ingest_service.storage.postgres.sensor_verdicts import SensorVerdicts

if TYPE_CHECKING:
    from ingest_service.storage.contract.sensor_verdicts import StoredVerdict

router = APIRouter(prefix="/v1", tags=["anomalies"], route_class=fast_route.FastRoute)

AnomalyState = Literal["open", "closed", "withdrawn"]
DEFAULT_PAGE_ROWS = 100
EXPORT_BLOCK_ROWS = 5000
POSTERIOR_READINGS = 10_000  # of each series; 60 h at one every 22 s
SeverityParam = Annotated[int, Query(ge=1, le=3, description="1 notice, 2 warning, 3 alarm")]


@router.get(
    "/anomalies",
    response_model=resource_models.PageResponse[resource_models.ListedAnomalyResponse],
    responses=problem_responses(404, 406) | format_responses(),
)
@requires(ANOMALIES)
def anomalies(
    context: CurrentContext,
    response_format: RequestedFormat,
    area: query_params.AreaParam = None,
    site: query_params.SiteParam = None,
    near_: Annotated[
        str | None,
        Query(alias="near", description="A site or node, for a distance along the network", max_length=200),
    ] = None,
    within_m: Annotated[
        float | None, Query(gt=0, le=1e7, description="Distance along the network [m]", examples=[5000])
    ] = None,
    within_s: Annotated[
        float | None, Query(gt=0, le=1e8, description="Travel time along the network [s]", examples=[7200])
    ] = None,
    direction: Annotated[
        network_distance.Direction, Query(description="From there up- or downstream")
    ] = "both",
    series: Annotated[
        list[Annotated[int, Field(ge=1, lt=2**31)]] | None, Query(description="Series, repeatable")
    ] = None,
    quantity: query_params.QuantityParam = None,
    detector: Annotated[
        list[str] | None, Query(description="Detectors, repeatable", examples=[["residual"]])
    ] = None,
    state: Annotated[
        list[AnomalyState] | None, Query(description="States, repeatable", examples=[["open"]])
    ] = None,
    severity_min: SeverityParam = 1,
    severity_max: SeverityParam = 3,
    text: Annotated[
        str | None,
        Query(description="What the reason says, Chinese or English", min_length=1, max_length=100),
    ] = None,
    from_: query_params.FromParam = None,
    to: query_params.ToParam = None,
    limit: query_params.OptionalLimitParam = None,
    cursor: query_params.CursorParam = None,
    reproduce: snapshots.ReproduceParam = None,
) -> Response:
    """Anomalies that were open within a time range, newest start first.

    Pages stay stable while new anomalies come: follow `next` until it is absent. CSV, NDJSON, Arrow
    and Parquet are streamed as a whole where no `limit` is given.
    """
    directory_index, cursor_signer = context.directory_index, context.cursor_signer(response_format.request)
    if near_ is None and (within_m or within_s):
        raise ProblemError(422, "near: say from where, with the id of a site or node", where="near")
    if severity_min > severity_max:
        raise ProblemError(422, "severity_min: must not be above severity_max", where="severity_min")
    if from_ and to and from_ >= to:
        raise ProblemError(422, "from: must be before to", where="from")
    sites = [one.site_id for one in directory_index.sites_of(area=area, site=site)]
    if near_ is not None:
        sites_in_range = network_distance.sites_within(
            directory_index, near_, within_m=within_m, within_s=within_s, direction=direction
        )
        sites = [one for one in sites if one in sites_in_range]
    anomaly_query = AnomalyQuery(
        site_ids=None if area is site is near_ is None and directory_index.is_unrestricted else sites,
        series_ids=_selected_series(directory_index, series, quantity),
        detectors=[_reject_nul(one) for one in detector] if detector else None,
        states=list(state) if state else None,
        severity_min=severity_min,
        severity_max=severity_max,
        text=None if text is None else _reject_nul(text),
        from_s=from_.timestamp() if from_ else None,
        to_s=to.timestamp() if to else None,
        after=_cursor_position(cursor_signer.decode(cursor, 2)) if cursor else None,
    )
    as_of = snapshots.decode_token(reproduce).snapshot if reproduce else None
    table = arrow_tables.anomalies_table(directory_index)
    rows = min(limit or DEFAULT_PAGE_ROWS, context.settings.page_rows)
    reader_at = context.query_api.reader_at(as_of)
    if limit is not None or response_format.format_name == "json":
        matched = reader_at.anomalies(msgspec.structs.replace(anomaly_query, limit=rows + 1))
        next_cursor = cursor_signer.encode(*matched[rows - 1].position) if len(matched) > rows else None
        token = snapshots.encode_token(reader_at.snapshot)
        return streaming_response.page_response(
            response_format, table, matched[:rows], next_cursor=next_cursor, token=token
        )
    snapshot = reader_at.snapshot
    page_retry = PageRetry()
    pages = context.query_api.all_anomalies(anomaly_query, snapshot, page_retry, rows=EXPORT_BLOCK_ROWS)
    response = streaming_response.streamed_response(
        response_format, table, pages, token=snapshots.encode_token(snapshot), directory_index=directory_index
    )
    page_retry.limit_s = context.settings.export_wait_s
    return response


@router.get("/anomalies/{anomaly_id}", responses=problem_responses(404))
@requires(ANOMALIES)
def anomaly(
    context: CurrentContext,
    anomaly_id: Annotated[int, query_params.ID_PATH],
) -> resource_models.VerifiedAnomalyResponse:
    """One anomaly with its evidence, and whether it is an event or a fault of its sensor."""
    matched = _visible_anomaly(context, anomaly_id)
    verdict = stored_verdict(context, anomaly_id)
    return conversion.verified_anomaly_response(matched, context.directory_index, verdict)


@router.get("/anomalies/{anomaly_id}/trace", responses=problem_responses(404), tags=["twin"])
@requires(ANOMALIES)
def trace(
    context: CurrentContext,
    anomaly_id: Annotated[int, query_params.ID_PATH],
    window_hours: Annotated[float | None, Query(gt=0, le=720, description="How far back to look [h]")] = None,
    uncertainty: Annotated[
        float, Query(ge=0, lt=1, description="Share by which velocities may be off")
    ] = 0.3,
    posterior: Annotated[  # noqa: FBT002 - a query parameter
        bool,
        Query(description="Also infer the source from concentrations, which takes a second or so"),
    ] = False,
) -> resource_models.TraceResponse:
    """Which nodes upstream could have caused an anomaly on the river, and when.

    By travel time; with `posterior=true` also by the concentrations at all sensors upstream: probability,
    time, duration and amount for each outfall, which can't be distinguished, and where to sample once more.
    """
    matched = _visible_anomaly(context, anomaly_id)
    directory = context.directory_index.directory.valid_at(matched.start_s)
    window_s = window_hours * 3600 if window_hours else context.settings.trace_window_s
    event_sites = _event_sites(context, anomaly_id) if posterior else []
    return conversion.trace_response(
        network_state.trace_anomaly(directory, matched, window_s=window_s, uncertainty=uncertainty),
        source_posterior.infer_sources(
            directory,
            matched,
            lambda series_id, from_s, to_s: context.store.readings(
                series_id, from_s, to_s, limit=POSTERIOR_READINGS
            ),
            window_s=window_s,
            other_sites=[one for one in event_sites if one != matched.site_id],
            is_whole_event=bool(event_sites),
        )
        if posterior
        else missing_results.NOT_REQUESTED,
    )


def _event_sites(context: RequestContext, anomaly_id: int) -> list[str]:
    """Return the visible sites of the incident of an anomaly; none where it is in no incident."""
    if context.unscoped_store.database is None:
        return []
    incidents = Incidents(context.scoped_database)
    own = incidents.memberships([anomaly_id]).get(anomaly_id)
    if own is None or own.incident_id is None:
        return []
    return sorted({one.site_id for one in incidents.members([own.incident_id])})


def stored_verdict(context: RequestContext, anomaly_id: int) -> StoredVerdict | None:
    """Return the verdict on the sensor of an anomaly; None without one, and of a store in memory."""
    if context.unscoped_store.database is None:
        return None
    return SensorVerdicts(context.scoped_database).of_anomalies([anomaly_id]).get(anomaly_id)


def _visible_anomaly(context: RequestContext, anomaly_id: int) -> Anomaly:
    """Return an anomaly at a site visible to the principal. Raises `ProblemError` where there is none."""
    matched = context.store.anomaly(anomaly_id)
    if matched is None or matched.site_id not in context.directory_index.sites:
        raise not_found("anomaly", anomaly_id)
    return matched


def _selected_series(
    directory_index: DirectoryIndex, ids: list[int] | None, quantity: str | None
) -> list[int] | None:
    for one in ids or ():
        if one not in directory_index.series:
            raise not_found("series", one)
    if quantity is None:
        return ids
    return [
        one.series_id
        for one in directory_index.series_of(quantity=quantity)
        if ids is None or one.series_id in ids
    ]


def _cursor_position(parts: tuple[int, ...]) -> tuple[int, int]:
    start_us, anomaly_id = parts
    return start_us, anomaly_id


def _reject_nul(filter_text: str) -> str:
    """Return a text; raise `ProblemError` where it has a NUL, which PostgreSQL can't store."""
    if "\0" in filter_text:
        raise ProblemError(422, "text, detector: there must be no NUL in it", where="text")
    return filter_text
