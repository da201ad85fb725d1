"""Routes that judge posted series, try limits on history, and adopt limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Annotated, Any

import msgspec
import structlog
from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from analytics.core.rounding import converted
from analytics.service import backtest, trial
from edge.wire.errors import UnitError
from edge.wire.quantities import QUANTITIES, Conversion, to_canonical
from gateway import encoding, judging_models, judging_tables, params, respond
from gateway.context import Context, Here
from gateway.forms import MEDIA, HowWanted, documented
from gateway.known import check_quantity
from gateway.models import at
from gateway.problems import ProblemError, not_found, responses
from gateway.upload_pool import UploadPool
from gateway.uploads import Posted
from ingest_service.storage.model import Series

router = APIRouter(prefix="/v1", tags=["judging"])
log = structlog.get_logger()

MOST_JSON = 100_000  # rows of an answer that is made at once: each takes 600 bytes on the way
POSTED = {
    "requestBody": {
        "required": True,
        "description": "A column `time` (RFC 3339 with offset, or Unix seconds) and a column `value`",
        "content": {
            MEDIA["json"]: {
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
                MEDIA[form]: {"schema": {"type": "string", "format": "binary"}} for form in ("csv", "parquet")
            },
        },
    }
}


async def _posted(request: Request) -> Posted:
    body = await request.body()
    pool: UploadPool = request.app.state.uploads
    return await run_in_threadpool(pool.read, body, request.headers.get("content-type", ""))


@router.post(
    "/judge",
    response_model=judging_models.Judged,
    responses=responses(406, 413, 415) | documented(again=False),
    openapi_extra=POSTED,
)
def judge(
    here: Here,
    wanted: HowWanted,
    posted: Annotated[Posted, Depends(_posted)],
    quantity: Annotated[str, Query(description="What is measured", examples=["dissolved_oxygen"])],
    unit: Annotated[
        str | None, Query(description="Unit of the values; canonical where it is not given")
    ] = None,
    limit: Annotated[
        list[str] | None, Query(description="A limit of the judge, repeatable", examples=[["score_strong=9"]])
    ] = None,
) -> Response:
    """Flags, band and anomalies of a posted series, by the very judge that judges devices; nothing is stored.

    JSON holds anomalies and readings; the other forms hold the readings alone.
    """
    conversion = _conversion(quantity, unit)
    if wanted.form == "json" and len(posted.time_s) > MOST_JSON:
        raise ProblemError(
            413,
            f"format: JSON holds {MOST_JSON:,} rows at most: ask for csv, ndjson, arrow or parquet",
            where="format",
        )
    value = converted(posted.value, conversion.scale, conversion.offset)
    history = backtest.history(Series(site_id="posted", quantity=quantity), posted.time_s, value)
    judged = backtest.judge(_changed(history, dict(_limit(one) for one in limit or ())))
    if wanted.form != "json":
        return respond.listed(wanted, judging_tables.JUDGED, judged, token=None)
    if here.visit is not None:
        here.visit.rows += len(posted.time_s)
    body = judging_tables.Judged(
        quantity=quantity,
        unit=QUANTITIES[quantity].unit,
        interval_s=judged.series.interval_s,
        limits=_all(trial.origins(judged.series).in_force),
        left_out=posted.left_out,
        anomalies=judging_tables.anomalies(judged.anomalies),
        readings=judging_tables.readings(judged),
    )
    return Response(encoding.JSON.encode(body), media_type=MEDIA["json"])


@router.post("/series/{series_id}/trial", responses=responses(404))
def try_limits(
    here: Here, series_id: params.SeriesId, wanted: judging_models.TrialWanted
) -> judging_models.Trial:
    """Judge a stretch of history by other limits, beside those in force; nothing is stored."""
    from_s, to_s = wanted.from_.timestamp(), wanted.to.timestamp()
    if from_s >= to_s:
        raise ProblemError(422, "from: must be before to", where="from")
    try:
        found = trial.trial(here.store, _series(here, series_id), wanted.limits, from_s, to_s)
    except ValueError as error:
        raise ProblemError(422, f"limits: {error}", where="limits") from error
    return judging_models.Trial(
        now=_outcome(found.now), tried=_outcome(found.tried), gone=_shown(found.gone), new=_shown(found.new)
    )


@router.get("/series/{series_id}/limits", responses=responses(404))
def series_limits(here: Here, series_id: params.SeriesId) -> judging_models.SeriesLimits:
    """The limits of a series, where each comes from, and every adoption."""
    return _limits(here, _series(here, series_id))


@router.put("/series/{series_id}/limits", responses=responses(404))
def adopt(
    here: Here, series_id: params.SeriesId, wanted: judging_models.Adopted
) -> judging_models.SeriesLimits:
    """Let limits stand for a series in place of all adopted before; ingest follows within seconds.

    No limits give back those of the site file. What was judged before is not judged again.
    """
    series = _series(here, series_id)
    adopted = msgspec.structs.replace(series, adopted=wanted.limits)
    wrong = trial.problems(adopted) if wanted.limits else []  # none at all are always an improvement
    if wrong:
        raise ProblemError(422, f"limits: {'; '.join(wrong)}", where="limits")
    here.adoptions.adopt(series_id, wanted.limits, who=here.name, note=wanted.note)
    here.directories.changed()
    here.note(limits=wanted.limits, before=series.adopted)
    log.info("limits_adopted", series=series_id, limits=wanted.limits, who=here.name)
    return _limits(here, adopted)


def _limits(here: Context, series: Series) -> judging_models.SeriesLimits:
    history = [
        judging_models.Adoption(limits=one.limits, who=one.who, note=one.note, at=at(one.at_s))
        for one in here.adoptions.of(series.series_id)
    ]
    return judging_models.SeriesLimits(
        series_id=series.series_id,
        **{name: _all(some) for name, some in asdict(trial.origins(series)).items()},
        problems=trial.problems(series),
        history=history,
    )


def _series(here: Context, series_id: int) -> Series:
    try:
        return here.known.series[series_id]
    except KeyError:
        raise not_found("series", series_id) from None


def _conversion(quantity: str, unit: str | None) -> Conversion:
    check_quantity(quantity)
    of = QUANTITIES[quantity]
    try:
        return to_canonical(of, unit or of.unit)
    except UnitError as error:
        raise ProblemError(422, f"unit: {error}", where="unit") from error


def _limit(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        return name.strip(), float(number)
    except ValueError:
        raise ProblemError(422, f"limit: give NAME=NUMBER, not {text!r}", where="limit") from None


def _changed(history: backtest.History, changed: dict[str, float]) -> backtest.History:
    try:
        return backtest.with_limits(history, changed) if changed else replace(history)
    except ValueError as error:
        raise ProblemError(422, f"limit: {error}", where="limit") from error


def _all(some: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: None if one is None or math.isnan(one) else one for name, one in some.items()}


def _outcome(one: trial.Outcome) -> judging_models.Outcome:
    return judging_models.Outcome(
        limits=_all(one.limits), readings=one.readings, flagged=one.flagged, anomalies=_shown(one.anomalies)
    )


def _shown(some: Any) -> list[judging_models.JudgedAnomaly]:
    return [
        judging_models.JudgedAnomaly.model_validate(msgspec.to_builtins(one))
        for one in judging_tables.anomalies(some)
    ]
