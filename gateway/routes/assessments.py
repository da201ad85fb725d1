"""Routes of monthly assessments and reports."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response

from analytics.service import reports
from analytics.service.reports.fonts import MissingError
from analytics.service.reports.source import NothingError
from gateway import assessment_models as models
from gateway import params
from gateway.context import Here
from gateway.models import Page, at
from gateway.problems import ProblemError, not_found, responses
from ingest_service.storage.assessments import Assessment, AssessmentQuery, Assessments, Kind

router = APIRouter(prefix="/v1", tags=["assessments"])

MONTH = r"^[12]\d{3}-(0[1-9]|1[0-2])$"
MEDIA_TYPES = {"html": "text/html; charset=utf-8", "pdf": "application/pdf"}
MONTHS_A_YEAR = 12

OfMonth = Annotated[str | None, Query(pattern=MONTH, examples=["2026-10"])]


@router.get("/assessments", responses=responses(404, 501))
def assessments(
    here: Here,
    request: Request,
    area: params.Area = None,
    site: params.Site = None,
    kind: Annotated[list[Kind] | None, Query(description="Some kinds")] = None,
    from_: Annotated[str | None, Query(alias="from", pattern=MONTH, description="From this month on")] = None,
    to: Annotated[str | None, Query(pattern=MONTH, description="Up to this month")] = None,
    limit: params.Limit = 1000,
    cursor: params.Cursor = None,
) -> Page[models.Assessment]:
    """Assessments of sites, links and towns, newest month first: classes, congestion, capture, index."""
    known, cursors = here.known, here.cursors(request)
    if site is not None:
        known.sites_of(site=site)
    areas = known.areas_below(area) if area else known.own
    limit = min(limit, here.settings.page_rows)
    query = AssessmentQuery(
        area_ids=sorted(areas),
        site_id=site,
        kinds=None if kind is None else [str(one) for one in kind],
        from_month=from_,
        to_month=to,
        after=None if cursor is None else _after(cursors.decode(cursor, 2)),
        limit=limit + 1,
    )
    found = Assessments(here.database).found(query)
    page, more = found[:limit], len(found) > limit
    sites = known.sites
    return Page[models.Assessment](
        items=[_shown(one) for one in page if one.site_id is None or one.site_id in sites],
        next=cursors.encode(_ordinal(page[-1].month), page[-1].assessment_id) if more else None,
    )


@router.get(
    "/reports/{area}/{month}",
    response_class=Response,
    responses={
        200: {"content": {one: {} for one in ("text/html", "application/pdf")}},
        **responses(404, 501),
    },
)
def report(
    here: Here,
    area: Annotated[str, Path(description="A town, county or city", examples=["330483"])],
    month: Annotated[str, Path(pattern=MONTH, examples=["2026-10"])],
    form: Annotated[Literal["html", "pdf"], Query(alias="format", description="Of the file")] = "html",
    language: Annotated[Literal["zh", "en"], Query(description="Of the words")] = "zh",
) -> Response:
    """The monthly report of an area: classes against targets, congestion, capture, anomalies, ranking."""
    known = here.known
    known.areas_below(area)
    try:
        made = reports.make(here.database, known.directory, area, month, language=language, form=form)
    except NothingError as error:
        raise not_found("report", f"{area}/{month}") from error
    except MissingError as error:
        raise ProblemError(501, str(error)) from error
    headers = {"Content-Disposition": f'inline; filename="towntwin-{month}.{form}"'}
    return Response(made, media_type=MEDIA_TYPES[form], headers=headers)


def _shown(one: Assessment) -> models.Assessment:
    row = msgspec.to_builtins(one)
    for name in ("data_from", "data_to", "computed"):
        row[name] = at(row.pop(f"{name}_s"))
    row.pop("assessment_id")
    return models.Assessment(**row)


def _ordinal(month: str) -> int:
    year, number = (int(part) for part in month.split("-"))
    return year * MONTHS_A_YEAR + number - 1


def _after(place: tuple[int, ...]) -> tuple[str, int]:
    ordinal, assessment_id = place
    year, number = divmod(ordinal, MONTHS_A_YEAR)
    return f"{year:04}-{number + 1:02}", assessment_id
