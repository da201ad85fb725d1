"""Serves the page of the estimated state: a quantity at every node of its network, now or at a past time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool

from analytics.errors import TwinModelError
from analytics.service.estimated_state import NETWORK_OF_DOMAIN, estimate_quantity
from edge.wire.quantities import QUANTITIES
from gateway.api.current_estimates import with_estimates_of_towns
from gateway.api.problems import ProblemError
from gateway.auth.authorization import TWIN_MODEL, requires
from gateway.console.form_refusals import Refusal, refusal_of
from gateway.console.incident_pages import local_form_time
from gateway.console.page_parts import PageParts
from gateway.console.state_map import COLOURS, state_map
from gateway.console.visitor import CurrentState, CurrentVisitor, page_response

if TYPE_CHECKING:
    from analytics.service.estimated_state import EstimatedState, NodeEstimate
    from gateway.console.platform_state import PlatformState
    from gateway.console.visitor import Visitor
    from ingest_service.storage.contract.models import Directory

router = APIRouter(include_in_schema=False)

ADDRESS = "/console/state"
PREFERRED = "dissolved_oxygen"
MAX_SHOWN = 500  # nodes in the table, those with a sensor first: a browser draws more rows slowly


@router.get(ADDRESS)
@requires(TWIN_MODEL)
async def state_page(
    visitor: CurrentVisitor,
    state: CurrentState,
    quantity: Annotated[str, Query(max_length=100)] = "",
    at: Annotated[str, Query(max_length=40)] = "",
) -> HTMLResponse:
    """Serve measured, expected and estimated values of a quantity, each apart, with age and quality."""
    choices = _quantities(state)
    chosen = quantity or (PREFERRED if PREFERRED in choices else next(iter(choices), ""))
    values: dict[str, Any] = {"found": None, "refusal": None}
    status = 200
    if chosen:
        try:
            found, directory = await run_in_threadpool(_estimated, visitor, state, chosen, at)
            values["found"] = _values(found, directory, visitor)
        except ProblemError as error:
            values["refusal"], status = _refusal(error, visitor), error.status
    return page_response(
        visitor,
        "state.html",
        http_status=status,
        parts=PageParts(visitor, state),
        quantities=[(name, visitor.quantity(name)) for name in choices],
        chosen=chosen,
        at=at,
        colours=COLOURS,
        **values,
    )


def _quantities(state: PlatformState) -> list[str]:
    """Return the quantities that are measured and belong to a network."""
    measured = {one.quantity for one in state.directory_index.directory.series}
    return [name for name, one in QUANTITIES.items() if name in measured and one.domain in NETWORK_OF_DOMAIN]


def _estimated(
    visitor: Visitor, state: PlatformState, quantity: str, at: str
) -> tuple[EstimatedState, Directory]:
    """Return the estimates with the networks of their time. Raises `ProblemError` 422."""
    time_of_state = local_form_time(at, visitor)
    now_s = time.time()
    at_s = now_s if time_of_state is None else time_of_state.timestamp()
    if at_s > now_s:
        raise ProblemError(422, "at: is in the future: give a time until now", where="at")
    if quantity not in QUANTITIES:
        raise ProblemError(422, f"quantity: there is no {quantity!r}", where="quantity")
    directory = state.directory_index.directory.valid_at(at_s)
    try:
        found = estimate_quantity(directory, visitor.context.store, quantity, at_s)
    except TwinModelError as error:
        raise ProblemError(422, f"quantity: {error}", where="quantity") from error
    if time_of_state is None:
        found = with_estimates_of_towns(visitor.context, found, directory)
    return found, directory


def _refusal(error: ProblemError, visitor: Visitor) -> Refusal:
    if error.where == "at":
        return Refusal(visitor.text("bad_time"), str(error))
    return refusal_of(error, visitor)


def _values(found: EstimatedState, directory: Directory, visitor: Visitor) -> dict[str, Any]:
    """Return what the template shows of an estimated state."""
    names = visitor.node_names(directory.nodes)
    ordered = sorted(found.nodes, key=lambda one: (one.measured is None, names[one.node_id]))
    return {
        "at_s": found.at_s,
        "map": state_map(found, directory),
        "names": names,
        "rows": [_row(one, names[one.node_id]) for one in ordered[:MAX_SHOWN]],
        "unlisted": max(0, len(ordered) - MAX_SHOWN),
        "n_measured": sum(one.source == "measured" for one in found.nodes),
        "n_estimated": sum(one.source == "estimated" for one in found.nodes),
        "n_none": sum(one.source == "none" for one in found.nodes),
        "missing": found.missing,
    }


def _row(one: NodeEstimate, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "site_id": one.site_id,
        "source": one.source,
        "measured": _number(one.measured),
        "expected": _number(one.expected),
        "estimated": _number(one.estimated),
        "deviation": "" if one.deviation is None else f"± {one.deviation:.2g}",
        "age_s": one.age_s,
        "quality": one.quality,
    }


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
