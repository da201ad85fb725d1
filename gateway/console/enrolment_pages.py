"""Serves the page of enrolment: codes for technicians, proposals of devices, decisions on them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, Response
from markupsafe import Markup
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from edge.wire.quantities import QUANTITIES
from gateway.api import query_params
from gateway.api.models import enrolment_models as models
from gateway.api.problems import ProblemError
from gateway.api.routes import enrolment
from gateway.auth.authorization import CONSOLE, ENROLMENT, requires
from gateway.console.duty_pages import area_options, refused, saved
from gateway.console.page_parts import PageParts
from gateway.console.visitor import CurrentState, CurrentVisitor, page_response, require

if TYPE_CHECKING:
    from gateway.console.form_refusals import Refusal
    from gateway.console.platform_state import PlatformState
    from gateway.console.visitor import Visitor

router = APIRouter(include_in_schema=False)

EDIT = ENROLMENT._replace(by_session=True)
ADDRESS = "/console/enrolment"
MAX_LISTED = 200
NOTICES = ("code_revoked", "confirm", "reject", "revoke")
EnrolmentId = Annotated[int, query_params.ID_PATH]


class DecisionForm(BaseModel):
    """A decision on a device; the rows of its channels are lists of the same length."""

    decision: str = ""
    note: str = ""
    name: list[str] = []
    site: list[str] = []
    quantity: list[str] = []
    unit: list[str] = []
    interval_s: list[str] = []
    limits: list[str] = []

    def request(self) -> models.DecisionRequest:
        """Return the decision as the API takes it; channels without a site are left out."""
        rows = zip(
            *(self.name, self.site, self.quantity, self.unit, self.interval_s, self.limits), strict=False
        )
        channels = [
            {
                "name": name,
                "site": site,
                "quantity": quantity,
                "unit": unit.strip() or None,
                "interval_s": interval_s or 300,
                "limits": parse_limits(limits),
            }
            for name, site, quantity, unit, interval_s, limits in rows
            if site
        ]
        return models.DecisionRequest.model_validate(
            {
                "decision": self.decision,
                "note": self.note,
                "channels": channels if self.decision == "confirm" else [],
            }
        )


@router.get(ADDRESS)
@requires(CONSOLE)
async def enrolment_page(
    visitor: CurrentVisitor,
    state: CurrentState,
    request: Request,
    done: Annotated[str, Query(max_length=20)] = "",
) -> HTMLResponse:
    """Serve codes, proposals and enrolled devices."""
    notice = visitor.text(f"enrolment_{done}") if done in NOTICES else ""
    return await _page(visitor, state, request, notice=notice)


@router.post(f"{ADDRESS}/codes")
@requires(EDIT)
async def create_code(
    visitor: CurrentVisitor,
    state: CurrentState,
    request: Request,
    area: Annotated[str, Form(max_length=200)] = "",
    devices: Annotated[str, Form(max_length=10)] = "1",
    hours: Annotated[str, Form(max_length=10)] = "24",
) -> Response:
    """Create a code, which the response shows once, with its QR code."""
    created: list[models.NewCodeResponse] = []

    def create() -> None:
        values = {"area": area, "devices": devices, "hours": hours}
        requested = models.NewCodeRequest.model_validate(values)
        created.append(enrolment.create_code(visitor.context, request, requested))

    refusal = await refused(visitor, create)
    return await _page(visitor, state, request, refusal=refusal, new_code=next(iter(created), None))


@router.post(ADDRESS + "/codes/{code_id}/revoke")
@requires(EDIT)
async def revoke_code(
    visitor: CurrentVisitor,
    state: CurrentState,
    request: Request,
    code_id: Annotated[str, Path(pattern="^[0-9a-f]{12}$")],
) -> Response:
    """Revoke a code."""
    refusal = await refused(visitor, lambda: enrolment.revoke_code(visitor.context, code_id))
    return (
        await _page(visitor, state, request, refusal=refusal) if refusal else saved(ADDRESS, "code_revoked")
    )


@router.post(ADDRESS + "/{enrolment_id}")
@requires(EDIT)
async def decide(
    visitor: CurrentVisitor,
    state: CurrentState,
    request: Request,
    enrolment_id: EnrolmentId,
    form: Annotated[DecisionForm, Form()],
) -> Response:
    """Confirm a device with its channels, reject it, or revoke it."""
    refusal = await refused(visitor, lambda: enrolment.decide(visitor.context, enrolment_id, form.request()))
    if refusal is None:
        return saved(ADDRESS, form.decision)
    return await _page(visitor, state, request, refusal=refusal, refused_id=enrolment_id, form=form)


def parse_limits(text: str) -> dict[str, float] | None:
    """Return the limits of a form, as ``suspect_low=6, suspect_high=9``; None for none.

    Raises
    ------
    ProblemError
        422 where a limit is no name with a number.

    """
    limits: dict[str, float] = {}
    for one in re.split(r"[\s,;，；]+", text.strip()):
        if not one:
            continue
        name, _, number = one.partition("=")
        try:
            limits[name] = float(number)
        except ValueError as error:
            raise ProblemError(422, f"limits: {one!r} is no NAME=NUMBER", where="limits") from error
    return limits or None


def _proposal_rows(one: models.EnrolmentResponse, form: DecisionForm | None) -> list[dict[str, Any]]:
    """Return the channels of a proposal as rows of its form: as it was sent, or with guesses at first."""
    rows = []
    for number, channel in enumerate(one.channels):
        guess = channel["name"] if channel["name"] in QUANTITIES else ""
        row = {
            "site": "",
            "quantity": guess,
            "unit": channel["unit"] or "",
            "interval_s": "300",
            "limits": "",
        }
        if form is not None and number < len(form.name):
            row = {name: getattr(form, name)[number] for name in row}
        rows.append({"channel": channel, **row})
    return rows


async def _page(
    visitor: Visitor,
    state: PlatformState,
    request: Request,
    *,
    notice: str = "",
    refusal: Refusal | None = None,
    new_code: models.NewCodeResponse | None = None,
    refused_id: int = 0,
    form: DecisionForm | None = None,
) -> HTMLResponse:
    require(visitor, ENROLMENT)
    context, index = visitor.context, state.directory_index

    def read() -> dict[str, Any]:
        found = enrolment.enrolments(context, request, None, None, MAX_LISTED, None).items
        sites = index.directory.sites
        proposals = [
            {
                "one": one,
                "rows": _proposal_rows(one, form if one.enrolment_id == refused_id else None),
                "sites": [(s.site_id, visitor.name(s)) for s in sites if s.area_id == one.area],
            }
            for one in found
            if one.state == "proposed"
        ]
        return {
            "codes": enrolment.codes(context),
            "proposals": proposals,
            "decided": [one for one in found if one.state != "proposed"],
        }

    return page_response(
        visitor,
        "enrolment.html",
        http_status=422 if refusal else 200,
        parts=PageParts(visitor, state),
        areas=area_options(visitor, state),
        area_names=dict(area_options(visitor, state)),
        quantities=sorted(((name, visitor.quantity(name)) for name in QUANTITIES), key=lambda one: one[1]),
        notice=notice,
        refusal=refusal,
        refused_id=refused_id,
        new_code=new_code,
        qr_svg=Markup(new_code.qr_svg) if new_code else "",  # noqa: S704 - drawn by segno, without texts
        **await run_in_threadpool(read),
    )
