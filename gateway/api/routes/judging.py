"""Routes that judge posted series, try limits on history, and adopt limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Annotated

import msgspec
import structlog
from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from analytics.core.rounding import convert_and_round
from analytics.quality.compiled_judge_loader import CompiledJudgeLoader
from analytics.service import backtest, limit_trials
from edge.wire.errors import UnitError
from edge.wire.quantities import QUANTITIES, Conversion, to_canonical
from gateway.api import query_params, uncharged_loading
from gateway.api.directory_cache import check_quantity
from gateway.api.models import conversion, judging_models
from gateway.api.models.resource_models import utc_datetime
from gateway.api.problems import ProblemError, not_found, problem_responses
from gateway.api.request_context import CurrentContext, RequestContext
from gateway.auth.authorization import ENGINEER, VIEWER, RequiredRight, requires
from gateway.formats import encoding, judging_tables, streaming_response
from gateway.formats.negotiation import MEDIA_TYPES, RequestedFormat, format_responses
from gateway.formats.upload_pool import UploadPool
from gateway.formats.upload_protocol import UploadedSeries
from ingest_service.storage.contract.models import Series

router = APIRouter(prefix="/v1", tags=["judging"])
log = structlog.get_logger()

MAX_JSON_ROWS = 100_000  # a JSON response is built in memory, at 600 bytes a row
UPLOAD_OPENAPI = {
    "requestBody": {
        "required": True,
        "description": "A column `time` (RFC 3339 with offset, or Unix seconds) and a column `value`",
        "content": {
            MEDIA_TYPES["json"]: {
                "schema": {
                    "type": "object",
                    "required": ["time", "value"],
                    "additionalProperties": False,
                    "properties": {
                        "time": {"type": "array", "items": {"type": ["string", "number"]}},
                        "value": {"type": "array", "items": {"type": ["number", "null"]}},
                    },
                },
                "example": {
                    "time": ["2026-11-23T08:00:00+08:00", "2026-11-23T08:05:00+08:00"],
                    "value": [7.9, 8.1],
                },
            },
            **{
                MEDIA_TYPES[format_name]: {"schema": {"type": "string", "format": "binary"}}
                for format_name in ("csv", "parquet")
            },
        },
    }
}


async def _uploaded_series(request: Request) -> UploadedSeries:
    body = await request.body()
    pool: UploadPool = request.app.state.upload_pool
    return await run_in_threadpool(pool.read, body, request.headers.get("content-type", ""))


@router.post(
    "/judge",
    response_model=judging_models.JudgedSeriesResponse,
    responses=problem_responses(406, 413, 415) | format_responses(has_snapshot_token=False),
    openapi_extra=UPLOAD_OPENAPI,
)
@requires(RequiredRight(VIEWER, "judging", changes_nothing=True, heavy=True))
def judge(
    context: CurrentContext,
    request: Request,
    requested: RequestedFormat,
    uploaded: Annotated[UploadedSeries, Depends(_uploaded_series)],
    quantity: Annotated[str, Query(description="What is measured", examples=["dissolved_oxygen"])],
    unit: Annotated[
        str | None, Query(description="Unit of the values; canonical where it is not given")
    ] = None,
    limit: Annotated[
        list[str] | None, Query(description="A limit of the judge, repeatable", examples=[["score_strong=9"]])
    ] = None,
) -> Response:
    """Flags, band and anomalies of a posted series, by the judge that ingest uses; nothing is stored.

    JSON has anomalies and readings; the other formats have the readings only.
    """
    conversion = _unit_conversion(quantity, unit)
    if requested.format_name == "json" and len(uploaded.time_s) > MAX_JSON_ROWS:
        raise ProblemError(
            413,
            f"format: JSON holds {MAX_JSON_ROWS:,} rows at most: ask for csv, ndjson, arrow or parquet",
            where="format",
        )
    value = convert_and_round(uploaded.value, conversion.scale, conversion.offset)
    history = backtest.make_history(Series(site_id="posted", quantity=quantity), uploaded.time_s, value)
    history = _with_changed_limits(history, _parse_limits(limit or ()))
    loader: CompiledJudgeLoader = request.app.state.judge_loader
    with uncharged_loading.judge_for(loader, context.auth, len(uploaded.time_s)) as use_compiled:
        judged = backtest.judge_history(history, use_compiled=use_compiled)
    if requested.format_name != "json":
        return streaming_response.list_response(requested, judging_tables.JUDGED_TABLE, judged, token=None)
    if context.auth is not None:
        context.auth.rows += len(uploaded.time_s)
    body = judging_tables.JudgedSeriesJson(
        quantity=quantity,
        unit=QUANTITIES[quantity].unit,
        interval_s=judged.series.interval_s,
        limits=_nan_to_none(limit_trials.limit_origins(judged.series).in_force),
        left_out=uploaded.left_out,
        anomalies=judging_tables.judged_anomalies(judged.anomalies),
        readings=judging_tables.judged_readings(judged),
    )
    return Response(encoding.JSON_ENCODER.encode(body), media_type=MEDIA_TYPES["json"])


@router.post("/series/{series_id}/trial", responses=problem_responses(404))
@requires(RequiredRight(ENGINEER, "judging", heavy=True))
def try_limits(
    context: CurrentContext,
    request: Request,
    series_id: query_params.SeriesIdParam,
    requested: judging_models.TrialRequest,
) -> judging_models.TrialResponse:
    """Judge a time range of history by other limits and by those in force; nothing is stored."""
    from_s, to_s = requested.from_.timestamp(), requested.to.timestamp()
    if from_s >= to_s:
        raise ProblemError(422, "from: must be before to", where="from")
    series = _visible_series(context, series_id)
    try:
        with uncharged_loading.judge_for(request.app.state.judge_loader, context.auth) as use_compiled:
            trial_result = limit_trials.try_limits(
                context.store, series, requested.limits, from_s, to_s, use_compiled=use_compiled
            )
    except ValueError as error:
        raise ProblemError(422, f"limits: {error}", where="limits") from error
    return judging_models.TrialResponse(
        now=_outcome_response(trial_result.now),
        tried=_outcome_response(trial_result.tried),
        gone=[conversion.judged_anomaly_response(one) for one in trial_result.gone],
        new=[conversion.judged_anomaly_response(one) for one in trial_result.new],
    )


@router.get("/series/{series_id}/limits", responses=problem_responses(404))
@requires(RequiredRight(VIEWER, "judging"))
def series_limits(
    context: CurrentContext, series_id: query_params.SeriesIdParam
) -> judging_models.SeriesLimitsResponse:
    """The limits of a series by origin, and every adoption."""
    return _series_limits_response(context, _visible_series(context, series_id))


@router.put("/series/{series_id}/limits", responses=problem_responses(404, 409))
@requires(RequiredRight(ENGINEER, "judging"))
def adopt(
    context: CurrentContext,
    series_id: query_params.SeriesIdParam,
    requested: judging_models.LimitChangeRequest,
) -> judging_models.SeriesLimitsResponse:
    """Adopt limits for a series in place of all adopted before; ingest applies them within seconds.

    An empty set restores those of the site file. Readings judged before are not judged again.
    """
    series = _visible_series(context, series_id)
    if series.site_id in context.directory_index.directory.origins:
        raise ProblemError(
            409,
            f"series {series_id} is judged by the town's own platform, which forwards it: send it there with"
            " POST /v1/federation/limits",
        )
    adopted = msgspec.structs.replace(series, adopted=requested.limits)
    # An empty set is always accepted: it removes adopted limits, whatever is wrong with the others.
    limit_problems = limit_trials.series_limit_problems(adopted) if requested.limits else []
    if limit_problems:
        raise ProblemError(422, f"limits: {'; '.join(limit_problems)}", where="limits")
    context.limit_changes.adopt(series_id, requested.limits, who=context.caller_name, note=requested.note)
    context.directories.invalidate()
    context.add_audit_detail(limits=requested.limits, before=series.adopted)
    log.info("limits_adopted", series=series_id, limits=requested.limits, who=context.caller_name)
    return _series_limits_response(context, adopted)


def _series_limits_response(context: RequestContext, series: Series) -> judging_models.SeriesLimitsResponse:
    history = [
        judging_models.LimitChangeResponse(
            limits=one.limits, who=one.who, note=one.note, at=utc_datetime(one.at_s)
        )
        for one in context.limit_changes.of(series.series_id)
    ]
    return judging_models.SeriesLimitsResponse(
        series_id=series.series_id,
        **{name: _nan_to_none(values) for name, values in asdict(limit_trials.limit_origins(series)).items()},
        problems=limit_trials.series_limit_problems(series),
        history=history,
    )


def _visible_series(context: RequestContext, series_id: int) -> Series:
    try:
        return context.directory_index.series[series_id]
    except KeyError:
        raise not_found("series", series_id) from None


def _unit_conversion(quantity: str, unit: str | None) -> Conversion:
    check_quantity(quantity)
    of = QUANTITIES[quantity]
    try:
        return to_canonical(of, unit or of.unit)
    except UnitError as error:
        raise ProblemError(422, f"unit: {error}", where="unit") from error


def _parse_limits(texts: Sequence[str]) -> dict[str, float]:
    limits = dict[str, float]()
    for text in texts:
        name, number = _parse_limit(text)
        if name in limits:
            raise ProblemError(422, f"limit: {name} is there twice: give it once", where="limit")
        limits[name] = number
    return limits


def _parse_limit(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        return name.strip(), float(number)
    except ValueError:
        raise ProblemError(422, f"limit: give NAME=NUMBER, not {text!r}", where="limit") from None


def _with_changed_limits(
    history: backtest.SeriesHistory, changed_limits: dict[str, float]
) -> backtest.SeriesHistory:
    try:
        return backtest.with_limits(history, changed_limits) if changed_limits else replace(history)
    except ValueError as error:
        raise ProblemError(422, f"limit: {error}", where="limit") from error


def _nan_to_none(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: None if one is None or math.isnan(one) else one for name, one in values.items()}


def _outcome_response(one: limit_trials.TrialOutcome) -> judging_models.OutcomeResponse:
    return judging_models.OutcomeResponse(
        limits=_nan_to_none(one.limits),
        readings=one.readings,
        flagged=one.flagged,
        anomalies=[conversion.judged_anomaly_response(found) for found in one.anomalies],
    )
