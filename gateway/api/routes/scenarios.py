"""Routes to compute scenarios (what if?), to list them, and to compare two of them."""

from __future__ import annotations

import time
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Path, Query

from analytics.errors import TwinModelError
from analytics.service.water_scenarios import WaterChange, water_scenario
from gateway.api.models import scenario_models as models
from gateway.api.models.resource_models import utc_datetime
from gateway.api.problems import ProblemError, not_found, problem_responses
from gateway.api.request_context import CurrentContext, RequestContext
from gateway.auth.authorization import SCENARIO_RUN, SCENARIOS, requires
from ingest_service.storage.postgres.scenarios import Scenario

router = APIRouter(prefix="/v1/scenarios", tags=["scenarios"])
log = structlog.get_logger()

MAX_READINGS = 100_000  # of a discharge in a day: one a second
SPILL_S = 3600.0  # duration of a spill by default
ScenarioId = Annotated[int, Query(ge=1, lt=2**63)]


@router.post("", responses=problem_responses(404))
@requires(SCENARIO_RUN)
def run(context: CurrentContext, request: models.ScenarioRequest) -> models.ScenarioResponse:
    """Compute a scenario on the river, and store it."""
    begun_s = time.time()
    at_s = begun_s if request.at is None else request.at.timestamp()
    directory = context.directory_index.directory
    _check_places(context, request)
    try:
        answer = water_scenario(
            directory,
            lambda series, from_s, to_s: context.store.readings(series, from_s, to_s, limit=MAX_READINGS),
            [_change(one, request.hours * 3600) for one in request.changes],
            at_s=at_s,
            hours=request.hours,
        )
    except TwinModelError as error:
        raise ProblemError(422, str(error), where="changes") from error
    stored = context.scenarios.insert(
        Scenario(
            area_ids=answer.areas,
            kind="water",
            name=request.name,
            who=context.caller_name,
            network_version=directory.version,
            at_s=at_s,
            computing_s=time.time() - begun_s,
            inputs=request.model_dump(mode="json"),
            result=answer.result,
        )
    )
    context.add_audit_detail(scenario=stored.scenario_id, kinds=sorted({one.kind for one in request.changes}))
    log.info("scenario_computed", scenario=stored.scenario_id, computing_s=round(stored.computing_s, 3))
    return _full(stored)


@router.get("", responses=problem_responses())
@requires(SCENARIOS)
def scenarios(
    context: CurrentContext,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[int | None, Query(ge=1, lt=2**63, description="Only those with a lower id")] = None,
) -> models.ScenarioListResponse:
    """Scenarios without their results, newest first."""
    found = context.scenarios.newest(limit=limit, before=before)
    return models.ScenarioListResponse(
        items=[_summary(one) for one in found if _is_visible(context, one)],
        next_before=found[-1].scenario_id if len(found) == limit else None,
    )


@router.get("/compare", responses=problem_responses(404))
@requires(SCENARIOS)
def compare(context: CurrentContext, a: ScenarioId, b: ScenarioId) -> models.ScenarioComparison:
    """Two scenarios side by side: arrival and peak at each place, discharge of each altered reach."""
    first, second = _full(_visible(context, a)), _full(_visible(context, b))
    return models.ScenarioComparison(
        a=_summary_of(first),
        b=_summary_of(second),
        statements_a=first.result.statements,
        statements_b=second.result.statements,
        sites=_compared_sites(first.result, second.result),
        links=_compared_links(first.result, second.result),
    )


@router.get("/{scenario_id}", responses=problem_responses(404))
@requires(SCENARIOS)
def scenario(
    context: CurrentContext, scenario_id: Annotated[int, Path(ge=1, lt=2**63)]
) -> models.ScenarioResponse:
    """A scenario with its result."""
    return _full(_visible(context, scenario_id))


def _change(one: models.WaterScenarioChange, whole_s: float) -> WaterChange:
    """Return a change as the model takes it. Raises `ProblemError` if it begins after the scenario's end."""
    start_s = 60 * one.start_minutes
    if start_s >= whole_s:
        raise ProblemError(422, f"{one.kind}: it begins after the end of the scenario", where="changes")
    by_default_s = SPILL_S if isinstance(one, models.SpillChange) else whole_s - start_s
    duration_s = by_default_s if one.duration_minutes is None else 60 * one.duration_minutes
    match one:
        case models.SpillChange():
            target, amount = one.node, one.kg
        case models.SluiceChange():
            target, amount = one.link, one.opening
        case models.PumpChange():
            target, amount = one.node, one.m3_s
        case models.RainChange():
            volume_m3 = 1e-3 * one.mm * 1e6 * one.catchment_km2 * one.runoff_share
            target, amount = one.node, volume_m3 / duration_s
    return WaterChange(kind=one.kind, target=target, start_s=start_s, duration_s=duration_s, amount=amount)


def _check_places(context: RequestContext, request: models.ScenarioRequest) -> None:
    """Raise `ProblemError` 404 for a node or link that the river of the principal doesn't have."""
    directory = context.directory_index.directory
    nodes = {one.node_id for one in directory.nodes if one.network == "river"}
    links = {one.link_id for one in directory.links if one.network == "river"}
    for one in request.changes:
        if isinstance(one, models.SluiceChange):
            if one.link not in links:
                raise not_found("river reach", one.link)
        elif one.node not in nodes:
            raise not_found("river node", one.node)


def _is_visible(context: RequestContext, one: Scenario) -> bool:
    return context.principal.areas is None or context.directory_index.visible_area_ids.issuperset(
        one.area_ids
    )


def _visible(context: RequestContext, scenario_id: int) -> Scenario:
    found = context.scenarios.one(scenario_id)
    if found is None or not _is_visible(context, found):
        raise not_found("scenario", scenario_id)
    return found


def _fields(one: Scenario) -> dict[str, Any]:
    return {
        "scenario_id": one.scenario_id,
        "kind": one.kind,
        "name": one.name,
        "who": one.who,
        "created": utc_datetime(one.created_s),
        "network_version": one.network_version,
        "at": utc_datetime(one.at_s),
        "computing_s": one.computing_s,
        "inputs": one.inputs,
    }


def _summary(one: Scenario) -> models.ScenarioSummary:
    return models.ScenarioSummary(**_fields(one))


def _full(one: Scenario) -> models.ScenarioResponse:
    return models.ScenarioResponse(
        **_fields(one), result=models.WaterScenarioResult.model_validate(one.result)
    )


def _summary_of(one: models.ScenarioResponse) -> models.ScenarioSummary:
    return models.ScenarioSummary(
        **{name: getattr(one, name) for name in models.ScenarioSummary.model_fields}
    )


def _compared_sites(
    first: models.WaterScenarioResult, second: models.WaterScenarioResult
) -> list[models.ComparedSite]:
    a, b = ({one.node_id: one for one in result.sites} for result in (first, second))
    found = []
    for node_id in dict.fromkeys((*a, *b)):
        site = a.get(node_id) or b[node_id]
        passages = [
            None
            if one is None
            else models.PassageResponse(arrival_s=one.arrival_s, peak_s=one.peak_s, peak_mg_l=one.peak_mg_l)
            for one in (a.get(node_id), b.get(node_id))
        ]
        found.append(
            models.ComparedSite(node_id=node_id, en=site.en, zh=site.zh, a=passages[0], b=passages[1])
        )
    return found


def _compared_links(
    first: models.WaterScenarioResult, second: models.WaterScenarioResult
) -> list[models.ComparedLink]:
    a, b = ({one.link_id: one for one in result.links} for result in (first, second))
    found = []
    for link_id in dict.fromkeys((*a, *b)):
        one, other = a.get(link_id), b.get(link_id)
        link = one or b[link_id]
        found.append(
            models.ComparedLink(
                link_id=link_id,
                en=link.en,
                zh=link.zh,
                base_a_m3_s=one.base_m3_s if one else None,
                base_b_m3_s=other.base_m3_s if other else None,
                a_m3_s=one.discharge_m3_s if one else None,
                b_m3_s=other.discharge_m3_s if other else None,
            )
        )
    return found
