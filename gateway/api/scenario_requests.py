"""Computes requested scenarios: checks their places, adds the release of an incident, calls the model."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Literal

from msgspec import structs

from analytics.service.road_scenarios import RoadChange, road_scenario
from analytics.service.water_scenarios import ScenarioAnswer, WaterChange, water_scenario
from gateway.api.incident_access import IncidentAccess
from gateway.api.models import scenario_models as models
from gateway.api.problems import ProblemError, not_found
from gateway.api.request_context import RequestContext
from gateway.auth.authorization import INCIDENTS, has_right

MAX_READINGS = 100_000  # of a discharge in a day: one a second
SPILL_S = 3600.0  # duration of a spill by default
HOUR_S = 3600.0
MAX_AHEAD_S = 366 * 86_400.0  # of a scenario's begin: what is planned


def with_release(context: RequestContext, request: models.ScenarioRequest) -> models.ScenarioRequest:
    """Return the request with the most probable release of its incident as a spill, and its time.

    Raises `ProblemError` 404 for an incident that isn't visible, and 422 for one without a traced release.
    """
    if request.incident_id is None:
        return request
    at, spill = release_of(context, request.incident_id)
    if request.at is not None:
        start_minutes = (at - request.at).total_seconds() / 60
        if start_minutes < 0:
            raise ProblemError(422, f"`at` is after the release, which was at {at.isoformat()}", where="at")
        if start_minutes >= 60 * request.hours:
            raise ProblemError(
                422,
                f"at: the scenario ends before the release, which was at {at.isoformat()}: begin later",
                where="at",
            )
        spill = spill.model_copy(update={"start_minutes": start_minutes})
    return request.model_copy(update={"at": request.at or at, "changes": [spill, *request.changes]})


def release_of(context: RequestContext, incident_id: int) -> tuple[datetime, models.SpillChange]:
    """Return the most probable release of a traced incident: when it began, and its spill.

    The amount is that which explains the readings with the model's flows. Raises `ProblemError` 404 for an
    incident that isn't visible, and 422 for one without a traced release.
    """
    if not has_right(context.principal, INCIDENTS):
        raise not_found("incident", str(incident_id))
    access = IncidentAccess.of(context)
    release = access.most_probable_release(access.visible(incident_id))
    if release is None:
        raise ProblemError(
            422, f"incident {incident_id} has no traced release: give a spill instead", where="incident_id"
        )
    spill = models.SpillChange(
        kind="spill",
        node=release.node_id,
        kg=float(f"{release.kg:.3g}"),
        duration_minutes=round(release.duration_s / 60, 1),
    )
    return datetime.fromtimestamp(release.at_s, UTC).replace(microsecond=0), spill


def begin_of(request: models.ScenarioRequest, now_s: float) -> float:
    """Return the Unix time [s] at which a scenario begins. Raises `ProblemError` 422 if too far ahead."""
    at_s = now_s if request.at is None else request.at.timestamp()
    if at_s > now_s + MAX_AHEAD_S:
        raise ProblemError(422, "at: is more than a year ahead: give an earlier time", where="at")
    return at_s


def network_of(
    context: RequestContext, request: models.ScenarioRequest, at_s: float
) -> Literal["water", "traffic"]:
    """Return the network of a request's changes, in the networks that are valid when it begins.

    Raises `ProblemError` 404 for a place that the principal's network doesn't have, and 422 for changes of
    both networks, or none.
    """
    directory = context.directory_index.directory.valid_at(at_s)
    nodes = {one.node_id for one in directory.nodes if one.network == "river"}
    links = {
        kind: {one.link_id for one in directory.links if one.network == kind} for kind in ("river", "road")
    }
    networks = set[Literal["water", "traffic"]]()
    for one in request.changes:
        if isinstance(one, models.RoadScenarioChange):
            networks.add("traffic")
            others = [one.to_link] if isinstance(one, models.DiversionChange) and one.to_link else []
            for link in (one.link, *others):
                if link not in links["road"]:
                    raise not_found("road link", link)
        else:
            networks.add("water")
            if isinstance(one, models.SluiceChange):
                if one.link not in links["river"]:
                    raise not_found("river reach", one.link)
            elif one.node not in nodes:
                raise not_found("river node", one.node)
    _check_signals(request)
    if len(networks) != 1:
        raise ProblemError(
            422, "changes: give at least one, all on the river or all on the roads", where="changes"
        )
    return networks.pop()


def _check_signals(request: models.ScenarioRequest) -> None:
    """Raise `ProblemError` 422 if a signal is changed twice: each change is for the whole scenario."""
    signals = [one.link for one in request.changes if isinstance(one, models.SignalChange)]
    for link in signals:
        if signals.count(link) > 1:
            raise ProblemError(
                422,
                f"changes: the signal at the end of {link!r} is there twice: give it once",
                where="changes",
            )


def on_river(context: RequestContext, request: models.ScenarioRequest, at_s: float) -> ScenarioAnswer:
    """Return the answer of a scenario on the river. Raises `TwinModelError` as `water_scenario`."""
    return water_scenario(
        context.directory_index.directory.valid_at(at_s),
        lambda series, from_s, to_s: context.store.readings(series, from_s, to_s, limit=MAX_READINGS),
        [
            _water_change(one, request.hours * HOUR_S)
            for one in request.changes
            if isinstance(one, models.WaterScenarioChange)
        ],
        at_s=at_s,
        hours=request.hours,
    )


def on_roads(context: RequestContext, request: models.ScenarioRequest, at_s: float) -> ScenarioAnswer:
    """Return the answer of a scenario on the roads. Raises `TwinModelError` as `road_scenario`."""
    return road_scenario(
        context.directory_index.directory.valid_at(at_s),
        context.store.buckets,
        [
            _road_change(one, request.hours * HOUR_S)
            for one in request.changes
            if isinstance(one, models.RoadScenarioChange)
        ],
        at_s=at_s,
        hours=request.hours,
        now_s=time.time(),
    )


def _times(
    one: models.ScenarioChange, whole_s: float, by_default_s: float | None = None
) -> tuple[float, float]:
    """Return begin and duration [s]. Raises `ProblemError` if it begins after the scenario's end."""
    start_s = 60 * one.start_minutes
    if start_s >= whole_s:
        raise ProblemError(422, "a change begins after the end of the scenario", where="changes")
    if one.duration_minutes is not None:
        return start_s, 60 * one.duration_minutes
    return start_s, by_default_s or whole_s - start_s


def _water_change(one: models.WaterScenarioChange, whole_s: float) -> WaterChange:
    """Return a change as the model takes it. Raises `ProblemError` if it begins after the scenario's end."""
    start_s, duration_s = _times(one, whole_s, SPILL_S if isinstance(one, models.SpillChange) else None)
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


def _road_change(one: models.RoadScenarioChange, whole_s: float) -> RoadChange:
    """Return a change as the model takes it. Raises `ProblemError` if it begins after the scenario's end."""
    if isinstance(one, models.SignalChange):
        return RoadChange(
            kind=one.kind, link=one.link, amount=one.green_share, usual_green_share=one.usual_green_share
        )
    start_s, duration_s = _times(one, whole_s)
    found = RoadChange(kind=one.kind, link=one.link, start_s=start_s, duration_s=duration_s)
    match one:
        case models.LaneClosureChange():
            return structs.replace(found, amount=one.lanes)
        case models.DiversionChange():
            return structs.replace(found, amount=one.share, to_link=one.to_link)
        case models.RoadRainChange():
            return structs.replace(found, amount=one.mm_h)
        case models.RoadClosureChange():
            return found
