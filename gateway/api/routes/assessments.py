"""Routes that list monthly assessments and render monthly reports (HTML or PDF)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response

from analytics.service import reports
from analytics.service.reports.errors import MissingExtraError
from analytics.service.reports.report_data import NothingAssessedError
from gateway.api import query_params
from gateway.api.models import assessment_models as models
from gateway.api.models.resource_models import PageResponse, utc_datetime
from gateway.api.problems import ProblemError, not_found, problem_responses
from gateway.api.request_context import CurrentContext
from gateway.auth.authorization import VIEWER, RequiredRight, requires
from gateway.transport.security_headers import REPORT_POLICY
from ingest_service.storage.postgres.assessments import (
    Assessment,
    AssessmentKind,
    AssessmentQuery,
    Assessments,
)

router = APIRouter(prefix="/v1", tags=["assessments"])

MONTH_PATTERN = r"^[12]\d{3}-(0[1-9]|1[0-2])$"
MEDIA_TYPES = {"html": "text/html; charset=utf-8", "pdf": "application/pdf"}
MONTHS_A_YEAR = 12

MonthParam = Annotated[str | None, Query(pattern=MONTH_PATTERN, examples=["2026-10"])]


@router.get("/assessments", responses=problem_responses(404, 501))
@requires(RequiredRight(VIEWER, "assessments"))
def assessments(
    context: CurrentContext,
    request: Request,
    area: query_params.AreaParam = None,
    site: query_params.SiteParam = None,
    kind: Annotated[list[AssessmentKind] | None, Query(description="Some kinds")] = None,
    from_: Annotated[
        str | None, Query(alias="from", pattern=MONTH_PATTERN, description="From this month on")
    ] = None,
    to: Annotated[str | None, Query(pattern=MONTH_PATTERN, description="Up to this month")] = None,
    limit: query_params.LimitParam = 1000,
    cursor: query_params.CursorParam = None,
) -> PageResponse[models.AssessmentResponse]:
    """Assessments of sites, links and towns, newest month first: classes, congestion, capture, index."""
    directory_index, cursor_signer = context.directory_index, context.cursor_signer(request)
    if site is not None:
        directory_index.sites_of(site=site)
    areas = directory_index.areas_below(area) if area else directory_index.visible_area_ids
    limit = min(limit, context.settings.page_rows)
    query = AssessmentQuery(
        area_ids=sorted(areas),
        site_id=site,
        kinds=None if kind is None else [str(one) for one in kind],
        from_month=from_,
        to_month=to,
        after=None if cursor is None else _parse_position(cursor_signer.decode(cursor, 2)),
        limit=limit + 1,
    )
    found = Assessments(context.scoped_database).found(query)
    page, has_more = found[:limit], len(found) > limit
    sites = directory_index.sites
    return PageResponse[models.AssessmentResponse](
        items=[_assessment_response(one) for one in page if one.site_id is None or one.site_id in sites],
        next=cursor_signer.encode(_month_number(page[-1].month), page[-1].assessment_id)
        if has_more
        else None,
    )


@router.get(
    "/reports/{area}/{month}",
    response_class=Response,
    responses={
        200: {"content": {one: {} for one in ("text/html", "application/pdf")}},
        **problem_responses(404, 501),
    },
)
@requires(RequiredRight(VIEWER, "assessments", audits_export=True, heavy=True))
def report(
    context: CurrentContext,
    area: Annotated[str, Path(description="A town, county or city", examples=["330483"])],
    month: Annotated[str, Path(pattern=MONTH_PATTERN, examples=["2026-10"])],
    form: Annotated[Literal["html", "pdf"], Query(alias="format", description="Of the file")] = "html",
    language: Annotated[Literal["zh", "en"], Query(description="Of the words")] = "zh",
) -> Response:
    """The monthly report of an area: classes against targets, congestion, capture, anomalies, ranking."""
    directory_index = context.directory_index
    directory_index.areas_below(area)
    try:
        content = reports.render_report(
            context.scoped_database, directory_index.directory, area, month, language=language, form=form
        )
    except NothingAssessedError as error:
        raise not_found("report", f"{area}/{month}") from error
    except MissingExtraError as error:
        raise ProblemError(501, str(error)) from error
    headers = {
        "Content-Disposition": f'inline; filename="towntwin-{month}.{form}"',
        "Content-Security-Policy": REPORT_POLICY,
    }
    return Response(content, media_type=MEDIA_TYPES[form], headers=headers)


def _assessment_response(one: Assessment) -> models.AssessmentResponse:
    row = msgspec.to_builtins(one)
    for name in ("data_from", "data_to", "computed"):
        row[name] = utc_datetime(row.pop(f"{name}_s"))
    row.pop("assessment_id")
    return models.AssessmentResponse(**row)


def _month_number(month: str) -> int:
    year, number = (int(part) for part in month.split("-"))
    return year * MONTHS_A_YEAR + number - 1


def _parse_position(cursor_parts: tuple[int, ...]) -> tuple[str, int]:
    ordinal, assessment_id = cursor_parts
    year, number = divmod(ordinal, MONTHS_A_YEAR)
    return f"{year:04}-{number + 1:02}", assessment_id
