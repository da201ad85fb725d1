"""Serves the page of scenarios: what if something were changed, its result, and two of them side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Form, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from gateway.api import scenario_requests
from gateway.api.models import scenario_models as models
from gateway.api.routes import scenarios
from gateway.auth.authorization import SCENARIO_RUN, SCENARIOS, requires
from gateway.console.duty_pages import refused
from gateway.console.incident_pages import local_form_time
from gateway.console.scenario_map import COLOURS, maps_of
from gateway.console.scenario_plot import plot_of
from gateway.console.visitor import CurrentState, CurrentVisitor, page_response

if TYPE_CHECKING:
    from gateway.console.form_refusals import Refusal
    from gateway.console.platform_state import PlatformState
    from gateway.console.visitor import Visitor

router = APIRouter(include_in_schema=False)

ADDRESS = "/console/scenarios"
RUN = SCENARIO_RUN._replace(by_session=True)
KINDS = (
    "spill",
    "sluice",
    "pump",
    "rain",
    "lane_closure",
    "road_closure",
    "diversion",
    "signal",
    "road_rain",
)
AMOUNTS = {
    "spill": "kg",
    "sluice": "opening",
    "pump": "m3_s",
    "rain": "mm",
    "lane_closure": "lanes",
    "diversion": "share",
    "signal": "green_share",
    "road_rain": "mm_h",
}
AT_NODES = {"spill", "pump", "rain"}
ROWS = 2  # changes of one form
MAX_LISTED = 30
ScenarioId = Annotated[int | None, Query(ge=1, lt=2**63)]


class ScenarioForm(BaseModel):
    """The fields of a scenario; rows of its changes are lists of the same length."""

    name: str = ""
    at: str = ""
    hours: str = "24"
    kind: list[str] = []
    target: list[str] = []
    amount: list[str] = []
    catchment: list[str] = []
    start: list[str] = []
    duration: list[str] = []

    def request(self, visitor: Visitor) -> models.ScenarioRequest:
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
                "node" if kind in AT_NODES else "link": target,
                "start_minutes": start or 0,
                "duration_minutes": duration or None,
            }
            if kind in AMOUNTS:
                change[AMOUNTS[kind]] = amount
            if kind == "rain":
                change["catchment_km2"] = catchment
            if kind == "signal":  # for the whole scenario
                change = {name: value for name, value in change.items() if not name.endswith("_minutes")}
            changes.append(change)
        return models.ScenarioRequest.model_validate(
            {
                "name": self.name.strip(),
                "at": local_form_time(self.at, visitor) if self.at else None,
                "hours": self.hours,
                "changes": changes or None,
            }
        )


@router.get(ADDRESS)
@requires(SCENARIOS)
async def scenario_page(
    visitor: CurrentVisitor,
    state: CurrentState,
    a: ScenarioId = None,
    b: ScenarioId = None,
    incident: ScenarioId = None,
) -> HTMLResponse:
    """Serve the form, what was computed, and the result of one scenario or of two.

    Of a traced incident the form has the most probable release, to which a change is added.
    """
    if incident is None:
        return await _page(visitor, state, a, b)
    stored: list[ScenarioForm] = []
    refusal = await refused(visitor, lambda: stored.append(_replay_form(visitor, incident)))
    return await _page(visitor, state, a, b, refusal=refusal, form=next(iter(stored), None))


@router.post(ADDRESS)
@requires(RUN)
async def run_scenario(
    visitor: CurrentVisitor, state: CurrentState, form: Annotated[ScenarioForm, Form()]
) -> Response:
    """Compute a scenario, and lead to its result."""
    stored: list[models.ScenarioResponse] = []
    refusal = await refused(
        visitor, lambda: stored.append(scenarios.run(visitor.context, form.request(visitor)))
    )
    if refusal is None:
        return RedirectResponse(f"{ADDRESS}?a={stored[0].scenario_id}", 303)
    return await _page(visitor, state, None, None, refusal=refusal, form=form)


def _replay_form(visitor: Visitor, incident_id: int) -> ScenarioForm:
    """Return the form with the release of an incident in its first row; the second is for the change."""
    at, spill = scenario_requests.release_of(visitor.context, incident_id)
    return ScenarioForm(
        name=visitor.text("scenario_of_incident", incident_id),
        at=at.astimezone(visitor.context.unscoped_store.zone).strftime("%Y-%m-%dT%H:%M"),
        kind=["spill", "sluice"],
        target=[spill.node, ""],
        amount=[f"{spill.kg:g}", "0"],
        catchment=["", ""],
        start=["0", "0"],
        duration=[f"{spill.duration_minutes:g}", ""],
    )


def _targets(visitor: Visitor, state: PlatformState) -> dict[str, list[tuple[str, str]]]:
    """Return id and name of the nodes and reaches of the river, and of the links of the roads.

    A name that nodes of several towns have stands with the town.
    """
    directory = state.directory_index.directory
    names = visitor.node_names(directory.nodes)
    found: dict[str, list[tuple[str, str]]] = {
        "scenario_nodes": [
            (one.node_id, names[one.node_id]) for one in directory.nodes if one.network == "river"
        ],
        "scenario_reaches": [],
        "scenario_roads": [],
    }
    for one in directory.links:
        begin, end = names.get(one.from_node), names.get(one.to_node)
        if begin and end:
            label = visitor.text("reach_between", visitor.name(one), begin, end)
            found["scenario_reaches" if one.network == "river" else "scenario_roads"].append(
                (one.link_id, label)
            )
    return {group: sorted(options, key=lambda one: one[1]) for group, options in found.items()}


def _changes(visitor: Visitor, listed: list[models.ScenarioSummary], names: dict[str, str]) -> dict[int, str]:
    """Return what each scenario changes, in words; a place that is not there any more has its id."""
    found = {}
    for one in listed:
        changes = []
        for change in one.inputs.get("changes", []):
            kind = change["kind"]
            amount = change.get(AMOUNTS.get(kind, ""))
            done = (
                visitor.text(f"scenario_{kind}")
                if amount is None
                else visitor.text(f"changed_{kind}", f"{amount:g}")
            )
            target = change.get("node") or change.get("link")
            changes.append(f"{done} · {names.get(target, target)}")
        found[one.scenario_id] = visitor.text("list_separator").join(changes)
    return found


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
    targets = _targets(visitor, state)
    names = {target: name for options in targets.values() for target, name in options}

    def read() -> dict[str, Any]:
        chosen = [scenarios.scenario(context, one) for one in (a, b) if one is not None]
        compared = scenarios.compare(context, a, b) if a is not None and b is not None else None
        listed = scenarios.scenarios(context, MAX_LISTED).items
        return {
            "listed": listed,
            "changes": _changes(visitor, listed, names),
            "chosen": chosen,
            "compared": compared,
            "names": names,
            "plot": plot_of([one.result for one in chosen]),
            "maps": maps_of([one.result for one in chosen], state.directory_index.directory),
        }

    return page_response(
        visitor,
        "scenarios.html",
        http_status=422 if refusal else 200,
        form=form or ScenarioForm(),
        rows=range(ROWS),
        kinds=[(one, visitor.text(f"scenario_{one}")) for one in KINDS],
        groups=[(visitor.text(group), options) for group, options in targets.items()],
        may_run=visitor.may(SCENARIO_RUN),
        level_colours=COLOURS,
        refusal=refusal,
        a=a,
        b=b,
        **await run_in_threadpool(read),
    )
