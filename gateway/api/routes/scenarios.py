"""Routes to compute scenarios (what if?), to list them, and to compare two of them."""

from __future__ import annotations

import time
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Path, Query

from analytics.errors import TwinModelError
from gateway.api import scenario_comparison, scenario_requests
from gateway.api.models import scenario_models as models
from gateway.api.models.resource_models import utc_datetime
from gateway.api.problems import ProblemError, not_found, problem_responses
from gateway.api.request_context import CurrentContext, RequestContext
from gateway.auth.authorization import SCENARIO_RUN, SCENARIOS, requires
from ingest_service.storage.postgres.scenarios import Scenario

router = APIRouter(prefix="/v1/scenarios", tags=["scenarios"])
log = structlog.get_logger()

RESULTS: dict[str, type[models.WaterScenarioResult | models.RoadScenarioResult]] = {
    "water": models.WaterScenarioResult,
    "traffic": models.RoadScenarioResult,
}
ScenarioId = Annotated[int, Query(ge=1, lt=2**63)]


@router.post("", responses=problem_responses(404))
@requires(SCENARIO_RUN)
def run(context: CurrentContext, request: models.ScenarioRequest) -> models.ScenarioResponse:
    """Compute a scenario on the river or on the roads, and store it."""
    begun_s = time.time()
    request = scenario_requests.with_release(context, request)
    at_s = scenario_requests.begin_of(request, begun_s)
    network = scenario_requests.network_of(context, request, at_s)
    try:
        compute = {"water": scenario_requests.on_river, "traffic": scenario_requests.on_roads}[network]
        answer = compute(context, request, at_s)
    except TwinModelError as error:
        raise ProblemError(422, str(error), where="changes") from error
    stored = context.scenarios.insert(
        Scenario(
            area_ids=answer.areas,
            kind=network,
            name=request.name,
            who=context.caller_name,
            network_version=context.directory_index.directory.version,
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
    """Two scenarios on the same network side by side: each place, reach and road that either alters."""
    first, second = _full(_visible(context, a)), _full(_visible(context, b))
    one, other = first.result, second.result
    sites: list[models.ComparedSite] = []
    links: list[models.ComparedLink] = []
    roads: list[models.ComparedRoad] = []
    if isinstance(one, models.WaterScenarioResult) and isinstance(other, models.WaterScenarioResult):
        sites, links = (
            scenario_comparison.compared_sites(one, other),
            scenario_comparison.compared_links(one, other),
        )
    elif isinstance(one, models.RoadScenarioResult) and isinstance(other, models.RoadScenarioResult):
        roads = scenario_comparison.compared_roads(one, other)
    else:
        raise ProblemError(
            422, "one is on the river, the other on the roads: compare two of one kind", where="b"
        )
    return models.ScenarioComparison(
        a=_summary_of(first),
        b=_summary_of(second),
        statements_a=one.statements,
        statements_b=other.statements,
        sites=sites,
        links=links,
        roads=roads,
    )


@router.get("/{scenario_id}", responses=problem_responses(404))
@requires(SCENARIOS)
def scenario(
    context: CurrentContext, scenario_id: Annotated[int, Path(ge=1, lt=2**63)]
) -> models.ScenarioResponse:
    """A scenario with its result."""
    return _full(_visible(context, scenario_id))


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
    return models.ScenarioResponse(**_fields(one), result=RESULTS[one.kind].model_validate(one.result))


def _summary_of(one: models.ScenarioResponse) -> models.ScenarioSummary:
    return models.ScenarioSummary(
        **{name: getattr(one, name) for name in models.ScenarioSummary.model_fields}
    )
