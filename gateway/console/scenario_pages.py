"""Serves the page of scenarios: what if something were changed, its result, and two of them side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Form, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from gateway.api.models import scenario_models as models
from gateway.api.routes import scenarios
from gateway.auth.authorization import SCENARIO_RUN, SCENARIOS, requires
from gateway.console.duty_pages import refused
from gateway.console.scenario_plot import plot_of
from gateway.console.visitor import CurrentState, CurrentVisitor, page_response

if TYPE_CHECKING:
    from gateway.console.form_refusals import Refusal
    from gateway.console.platform_state import PlatformState
    from gateway.console.visitor import Visitor

router = APIRouter(include_in_schema=False)

ADDRESS = "/console/scenarios"
RUN = SCENARIO_RUN._replace(by_session=True)
KINDS = ("spill", "sluice", "pump", "rain")
AMOUNTS = {"spill": "kg", "sluice": "opening", "pump": "m3_s", "rain": "mm"}
ROWS = 2  # changes of one form
MAX_LISTED = 30
ScenarioId = Annotated[int | None, Query(ge=1, lt=2**63)]


class ScenarioForm(BaseModel):
    """The fields of a scenario; rows of its changes are lists of the same length."""

    name: str = ""
    hours: str = "24"
    kind: list[str] = []
    target: list[str] = []
    amount: list[str] = []
    catchment: list[str] = []
    start: list[str] = []
    duration: list[str] = []

    def request(self) -> models.ScenarioRequest:
        """Return the scenario as the API takes it; rows without a place are left out."""
        rows = zip(
            *(self.kind, self.target, self.amount, self.catchment, self.start, self.duration), strict=False
        )
        changes = []
        for kind, target, amount, catchment, start, duration in rows:
            if not target:
                continue
            change: dict[str, Any] = {
                "kind": kind,
                "link" if kind == "sluice" else "node": target,
                AMOUNTS.get(kind, "amount"): amount,
                "start_minutes": start or 0,
                "duration_minutes": duration or None,
            }
            if kind == "rain":
                change["catchment_km2"] = catchment
            changes.append(change)
        return models.ScenarioRequest.model_validate(
            {"name": self.name.strip(), "hours": self.hours, "changes": changes}
        )


@router.get(ADDRESS)
@requires(SCENARIOS)
async def scenario_page(
    visitor: CurrentVisitor, state: CurrentState, a: ScenarioId = None, b: ScenarioId = None
) -> HTMLResponse:
    """Serve the form, what was computed, and the result of one scenario or of two."""
    return await _page(visitor, state, a, b)


@router.post(ADDRESS)
@requires(RUN)
async def run_scenario(
    visitor: CurrentVisitor, state: CurrentState, form: Annotated[ScenarioForm, Form()]
) -> Response:
    """Compute a scenario, and lead to its result."""
    stored: list[models.ScenarioResponse] = []
    refusal = await refused(visitor, lambda: stored.append(scenarios.run(visitor.context, form.request())))
    if refusal is None:
        return RedirectResponse(f"{ADDRESS}?a={stored[0].scenario_id}", 303)
    return await _page(visitor, state, None, None, refusal=refusal, form=form)


def _targets(visitor: Visitor, state: PlatformState) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return id and name of the nodes and of the reaches of the river."""
    directory = state.directory_index.directory
    nodes = {one.node_id: visitor.name(one) for one in directory.nodes if one.network == "river"}
    links = [
        (one.link_id, visitor.text("reach_between", visitor.name(one), begin, end))
        for one in directory.links
        if one.network == "river" and (begin := nodes.get(one.from_node)) and (end := nodes.get(one.to_node))
    ]
    return sorted(nodes.items(), key=lambda one: one[1]), sorted(links, key=lambda one: one[1])


async def _page(
    visitor: Visitor,
    state: PlatformState,
    a: int | None,
    b: int | None,
    *,
    refusal: Refusal | None = None,
    form: ScenarioForm | None = None,
) -> HTMLResponse:
    context = visitor.context

    def read() -> dict[str, Any]:
        chosen = [scenarios.scenario(context, one) for one in (a, b) if one is not None]
        compared = scenarios.compare(context, a, b) if a is not None and b is not None else None
        return {
            "listed": scenarios.scenarios(context, MAX_LISTED).items,
            "chosen": chosen,
            "compared": compared,
            "plot": plot_of([one.result for one in chosen]),
        }

    nodes, links = _targets(visitor, state)
    return page_response(
        visitor,
        "scenarios.html",
        http_status=422 if refusal else 200,
        form=form or ScenarioForm(),
        rows=range(ROWS),
        kinds=[(one, visitor.text(f"scenario_{one}")) for one in KINDS],
        nodes=nodes,
        links=links,
        may_run=visitor.may(SCENARIO_RUN),
        refusal=refusal,
        a=a,
        b=b,
        **await run_in_threadpool(read),
    )
