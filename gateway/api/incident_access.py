"""Incidents as the principal of a request may see and change them, and their conversion to responses."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, cast

import msgspec

from analytics.incidents import incident_text
from analytics.incidents.state_machine import legal_events, legal_requests
from analytics.service import missing_results
from analytics.service.missing_results import MissingResult
from analytics.service.source_posterior import SourcePosteriorAnswer
from gateway.api.models import incident_models as models
from gateway.api.models.conversion import (
    posterior_response,
    sensor_verdict_response,
    verdict_missing_response,
)
from gateway.api.models.resource_models import missing_response, utc_datetime
from gateway.api.problems import ProblemError, not_found
from gateway.auth.principal import Role
from ingest_service.storage.contract.incidents import IncidentQuery
from ingest_service.storage.postgres.incidents import Incidents
from ingest_service.storage.postgres.sensor_verdicts import SensorVerdicts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from analytics.incidents.state_machine import ActingRole
    from gateway.api.directory_cache import DirectoryIndex
    from gateway.api.models.resource_models import MissingResultResponse, SensorVerdictResponse
    from gateway.api.request_context import RequestContext
    from gateway.auth.principal import Principal
    from ingest_service.storage.contract.incidents import (
        Incident,
        IncidentAnomaly,
        IncidentHistory,
        IncidentPhoto,
        IncidentRequest,
    )

_INCIDENT_TIMES = (
    "started",
    "last",
    "opened",
    "updated",
    "returned",
    "acknowledged",
    "filed",
    "dispatched",
    "reported",
    "closed",
    "shelved_until",
    "extended_until",
    "held_until",
)


class TracedRelease(NamedTuple):
    """A release at a node: when it began, Unix time [s], how long it lasted [s], and its mass [kg]."""

    node_id: str
    at_s: float
    duration_s: float
    kg: float


class MemberVerdicts(NamedTuple):
    """Verdicts on the sensors of an incident's anomalies, or why there is none, by anomaly in their order."""

    found: dict[int, SensorVerdictResponse]
    missing: dict[int, MissingResultResponse | None]

    @property
    def first(self) -> SensorVerdictResponse | None:
        """Verdict on the sensor of the first anomaly that has one."""
        return next(iter(self.found.values()), None)

    @property
    def first_missing(self) -> MissingResultResponse | None:
        """Why the first anomaly has none."""
        return next(iter(self.missing.values()), missing_response(missing_results.NO_ANOMALIES))


@dataclass(frozen=True, slots=True)
class IncidentAccess:
    """Incidents restricted to the principal of a request: to its areas, and to the team of a team member.

    Attributes
    ----------
    context : of the request
    store : incidents, behind row-level security
    now_s : time of the request, Unix seconds [s]

    """

    context: RequestContext
    store: Incidents
    now_s: float

    @classmethod
    def of(cls, context: RequestContext) -> IncidentAccess:
        """Return the access of a request. Raises `ProblemError` on a store in memory."""
        return cls(context, Incidents(context.scoped_database), time.time())

    @property
    def role(self) -> ActingRole:
        """Role of the principal, as the state machine names it."""
        return cast("ActingRole", self.context.principal.role.role_name)

    @property
    def who(self) -> str:
        """Name and id of the principal, for the history."""
        return self.context.caller_name

    @property
    def team_ids(self) -> list[str] | None:
        """Teams whose incidents the principal may see; None is all."""
        return visible_teams(self.context.principal)

    def restricted(self, query: IncidentQuery) -> IncidentQuery:
        """Restrict a query to the areas and the team of the principal."""
        visible = self.context.directory_index.visible_area_ids
        areas = None if self.context.directory_index.is_unrestricted else sorted(visible)
        if query.area_ids is not None:
            areas = [one for one in query.area_ids if one in visible]
        teams = self.team_ids
        if teams is not None and query.team_ids is not None:
            teams = [one for one in query.team_ids if one in teams]
        return msgspec.structs.replace(
            query, area_ids=areas, team_ids=query.team_ids if teams is None else teams
        )

    def visible(self, incident_id: int) -> Incident:
        """Return an incident that the principal may see. Raises `ProblemError` where there is none."""
        incident = self.store.incident(incident_id)
        if incident is None or not self.may_see(incident):
            raise not_found("incident", incident_id)
        return incident

    def may_see(self, incident: Incident) -> bool:
        """Whether the principal may see an incident."""
        teams = self.team_ids
        return self.context.directory_index.visible_area_ids.intersection(
            incident.area_ids
        ) != frozenset() and (teams is None or incident.team_id in teams)

    def with_those_of_towns(self, incident_id: int) -> list[int]:
        """Return an incident and those of towns below it, whose anomalies are its own too."""
        below = self.store.found(IncidentQuery(parent_id=incident_id))
        return [incident_id, *(one.incident_id for one in below if one.origin and self.may_see(one))]

    def changeable(self, incident_id: int, revision: int | None = None) -> Incident:
        """Return an incident that the principal may change.

        Raises
        ------
        ProblemError
            404 where it is not visible, 403 where its home area is another one, 409 where it is changed in
            the town alone, or ``revision`` is not its revision any more.

        """
        incident = self.visible(incident_id)
        if incident.area_id not in self.context.directory_index.visible_area_ids:
            raise ProblemError(
                403, f"incident {incident_id} is at home in another area, which changes it: leave a comment"
            )
        if incident.origin is not None:
            raise ProblemError(
                409,
                f"incident {incident_id} is of the town's own platform, forwarded by {incident.origin}:"
                " change it there, and it changes here too",
            )
        if revision is not None and revision != incident.revision:
            raise ProblemError(
                409,
                f"incident {incident_id} was changed meanwhile (its revision is {incident.revision}): read "
                "it again, and repeat the change if it is still wanted",
                where="revision",
            )
        return incident

    def fully_visible(self, incident_id: int, revision: int | None = None) -> Incident:
        """Return a changeable incident all of whose areas the principal sees, for moving its anomalies.

        Raises `ProblemError` as `changeable` does, and 403 where it touches an area that is not visible.
        """
        incident = self.changeable(incident_id, revision)
        if not set(incident.area_ids) <= self.context.directory_index.visible_area_ids:
            raise ProblemError(
                403,
                f"incident {incident_id} touches areas that you do not see: a principal of the county or "
                "city above them may merge and split it",
            )
        return incident

    def response(self, incident: Incident) -> models.IncidentResponse:
        """Convert an incident, with what the principal may do with it."""
        directory_index = self.context.directory_index
        at_home = incident.area_id in directory_index.visible_area_ids and incident.origin is None
        return incident_response(
            incident,
            directory_index,
            events=legal_events(incident, self.role) if at_home else [],
            requests=legal_requests(incident, self.role) if at_home else [],
        )

    def most_probable_release(self, incident: Incident) -> TracedRelease | None:
        """Return the most probable release of a traced incident; None without one that is visible."""
        stored = self.store.traces([incident.incident_id]).get(incident.incident_id)
        if stored is None or stored.posterior is None:
            return None
        candidates = msgspec.convert(stored.posterior, SourcePosteriorAnswer).candidates
        first = next(iter(candidates), None)
        nodes = {one.node_id for one in self.context.directory_index.directory.nodes}
        if first is None or first.node_id not in nodes:
            return None
        kg = first.amount_kg[1] if first.amount_kg else first.modelled_kg
        # of a trace that an older version computed, the amount isn't there
        return TracedRelease(first.node_id, first.released_s, max(first.duration_s, 60.0), kg) if kg else None

    def members(self, incident_id: int, *, limit: int | None = None) -> list[IncidentAnomaly]:
        """Return the anomalies of an incident and of those of towns below it, by start."""
        return self.store.members(self.with_those_of_towns(incident_id), limit=limit)

    def sensor_verdicts(self, members: Sequence[IncidentAnomaly]) -> MemberVerdicts:
        """Return the verdicts on the sensors of anomalies, and for those without one the reason."""
        index = self.context.directory_index
        stored = SensorVerdicts(self.context.scoped_database).of_anomalies(
            one.anomaly_id for one in members if one.role != "suppressed"
        )
        verdicts = MemberVerdicts({}, {})
        for one in members:
            verdict = sensor_verdict_response(stored.get(one.anomaly_id), index)
            if verdict is not None:
                verdicts.found[one.anomaly_id] = verdict
                continue
            missing = verdict_missing_response(one, stored.get(one.anomaly_id), index)
            kept_out = missing_response(missing_results.KEPT_OUT)
            verdicts.missing[one.anomaly_id] = kept_out if one.role == "suppressed" else missing
        return verdicts

    def trace(self, incident: Incident) -> models.IncidentTraceResponse | MissingResult:
        """Return the trace of an incident, without sources in areas that are not visible, or why none."""
        stored = self.store.traces([incident.incident_id]).get(incident.incident_id)
        if stored is None:
            return missing_results.untraced(incident)
        if stored.posterior is None:
            missing = stored.missing
            return (
                missing_results.TRACED_WITHOUT_SOURCE
                if missing is None
                else msgspec.convert(missing, MissingResult)
            )
        posterior = msgspec.convert(stored.posterior, SourcePosteriorAnswer)
        index = self.context.directory_index
        nodes = {one.node_id for one in index.directory.nodes}
        sample = posterior.extra_sample
        visible = msgspec.structs.replace(
            posterior,
            candidates=[one for one in posterior.candidates if one.node_id in nodes],
            credible_90=[one for one in posterior.credible_90 if one in nodes],
            sensors=[one for one in posterior.sensors if one in index.sites],
            extra_sample=sample if sample is not None and sample.node_id in nodes else None,
            arrivals=[one for one in posterior.arrivals if one.node_id in nodes],
        )
        if sample is not None and visible.extra_sample is None:
            visible = msgspec.structs.replace(visible, sample_missing=missing_results.OUT_OF_SIGHT)
        if posterior.arrivals and not visible.arrivals:
            visible = msgspec.structs.replace(visible, arrivals_missing=missing_results.OUT_OF_SIGHT)
        listed = sum(one.probability for one in visible.candidates)
        return models.IncidentTraceResponse(
            computed=utc_datetime(stored.computed_s),
            times_computed=stored.times_computed,
            elsewhere=round(max(0.0, 1 - listed), 3),
            posterior=posterior_response(visible),
        )


def visible_teams(principal: Principal) -> list[str] | None:
    """Return the teams whose incidents a principal may see; None is all: only team members are restricted."""
    if principal.role != Role.TEAM_MEMBER:
        return None
    return [] if principal.team_id is None else [principal.team_id]


def incident_response(
    incident: Incident,
    directory_index: DirectoryIndex,
    *,
    events: Sequence[str] = (),
    requests: Sequence[str] = (),
) -> models.IncidentResponse:
    """Convert an incident for a directory, without areas and sites that are not in it."""
    row = msgspec.structs.asdict(incident)
    times = {name: _time_or_none(row.pop(f"{name}_s")) for name in _INCIDENT_TIMES}
    sites = [one for one in incident.site_ids if one in directory_index.sites]
    main = incident.main_site_id if incident.main_site_id in directory_index.sites else None
    shown = main or next(iter(sites), None)
    site = None if shown is None else directory_index.sites[shown]
    title_en, title_zh = incident_text.title(
        msgspec.structs.replace(incident, site_ids=sites), None if site is None else (site.en, site.zh)
    )
    return models.IncidentResponse(
        **row
        | times
        | {
            "area_ids": [one for one in incident.area_ids if one in directory_index.visible_area_ids],
            "main_site_id": main,
            "site_ids": sites,
            "title_en": title_en,
            "title_zh": title_zh,
            "lon": None if site is None else site.lon,
            "lat": None if site is None else site.lat,
            "legal_events": list(events),
            "legal_requests": list(requests),
        }
    )


def anomaly_response(
    one: IncidentAnomaly, verdicts: MemberVerdicts | None = None
) -> models.IncidentAnomalyResponse:
    """Convert the membership of an anomaly, with the verdict on its sensor where those are given."""
    row = msgspec.structs.asdict(one)
    if verdicts is not None:
        row["sensor_verdict"] = verdicts.found.get(one.anomaly_id)
        row["sensor_verdict_missing"] = verdicts.missing.get(one.anomaly_id)
    del row["anomaly_revision"]
    times = {"start": utc_datetime(row.pop("start_s")), "end": _time_or_none(row.pop("end_s"))}
    return models.IncidentAnomalyResponse(**row | times)


def history_response(one: IncidentHistory) -> models.HistoryResponse:
    """Convert a history entry."""
    row = msgspec.structs.asdict(one)
    del row["incident_id"]
    at = utc_datetime(row.pop("at_s"))
    return models.HistoryResponse(**row, at=at, event_zh=incident_text.event_name(one.event)[1])


def request_response(one: IncidentRequest) -> models.RequestResponse:
    """Convert a request."""
    row = msgspec.structs.asdict(one)
    times = {name: _time_or_none(row.pop(f"{name}_s")) for name in ("requested", "until", "decided")}
    return models.RequestResponse(**row | times)


def photo_response(one: IncidentPhoto) -> models.PhotoResponse:
    """Convert a photo without its content."""
    row = msgspec.structs.asdict(one)
    del row["incident_id"]
    at = utc_datetime(row.pop("at_s"))
    return models.PhotoResponse(**row, at=at)


def _time_or_none(time_s: float | None) -> datetime | None:
    return None if time_s is None else utc_datetime(time_s)
