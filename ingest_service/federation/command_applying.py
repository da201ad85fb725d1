"""Decides what a command of the platform above does here, and applies it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from analytics.quality.default_limits import limit_problems
from edge.wire.errors import PayloadError
from edge.wire.federation_commands import (
    DashboardsCommand,
    LimitsCommand,
    dashboard_problem,
    decode_command,
    decode_content,
)
from ingest_service.federation import metrics
from ingest_service.federation.errors import DashboardsAwayError
from ingest_service.storage.contract.area_tree import areas_below
from ingest_service.storage.contract.federation_commands import CommandEffect, IssuedCommand
from ingest_service.storage.contract.incidents import HistoryEntry, Incident, IncidentUpdate
from ingest_service.storage.postgres.federation_commands import FederationCommands

if TYPE_CHECKING:
    from edge.wire.federation_commands import CommandContent, IncidentCommand
    from ingest_service.federation.policy import Policy
    from ingest_service.storage.contract.batch import Epoch
    from ingest_service.storage.contract.models import Directory, Site
    from ingest_service.storage.contract.store import Database

log = structlog.get_logger()

UNKNOWN: Final = "unknown"
"""Kind noted for a command whose content is not understood."""
DASHBOARDS_AGAIN_S: Final = 30.0
"""After Grafana did not answer, so that it does not hold up forwarding."""
PutDashboard = Callable[[dict[str, Any]], str]
GIVEN_HERE: Final = frozenset(
    {
        "incident_id",
        "revision",
        "area_id",
        "area_ids",
        "main_site_id",
        "opened_s",
        "opened_by",
        "team_id",
        "assignee",
        "parent_id",
        "merged_into",
        "origin",
        "site_ids",
    }
)
"""Fields of an incident that the platform above does not decide."""


class CommandApplying:
    """Applies commands of the platform above; methods raise the errors of the store.

    Parameters
    ----------
    put_dashboard : saves a dashboard in Grafana, and returns why that is refused, or an empty text; raises
        `DashboardsAwayError` if Grafana does not answer. None where this platform has no Grafana

    """

    def __init__(
        self,
        store: Database,
        policy: Policy,
        epoch: Epoch | None = None,
        put_dashboard: PutDashboard | None = None,
    ) -> None:
        self._store, self._policy, self._put_dashboard = store, policy, put_dashboard
        self._no_dashboards_until_s = 0.0
        self._commands = FederationCommands(store, epoch)

    def apply(self, payload: bytes) -> None:
        """Apply a command or refuse it; one without a readable id is logged alone."""
        try:
            received = decode_command(payload)
        except PayloadError as error:
            log.warning("command_unreadable", detail=str(error))
            return
        command = IssuedCommand(
            command_id=received.command_id,
            area_id=self._policy.area,
            from_above=True,
            kind=UNKNOWN,
            content={},
            who=f"above: {received.who}",
            note=received.note,
            issued_s=received.issued_s,
        )
        try:
            content = decode_content(received)
        except PayloadError as error:
            effect = CommandEffect(str(error))
        else:
            kept = msgspec.json.decode(received.content)  # with fields that a later release added
            command = msgspec.structs.replace(command, kind=kept.pop("kind"), content=kept)
            try:
                command, effect = self._effect(command, content)
            except DashboardsAwayError as error:
                self._no_dashboards_until_s = time.monotonic() + DASHBOARDS_AGAIN_S
                log.warning("command_waits", command=command.command_id, detail=str(error))
                return
        if self._commands.receive(command, effect):
            outcome = "refused" if effect.refusal else "passed_on" if effect.device else "applied"
            metrics.COMMANDS.labels(outcome).inc()
            log.info("command_received", command=command.command_id, outcome=outcome, refusal=effect.refusal)

    def _effect(self, command: IssuedCommand, content: CommandContent) -> tuple[IssuedCommand, CommandEffect]:
        if command.kind not in self._policy.commands:
            return command, CommandEffect(
                f"the policy of this platform permits no command {command.kind!r}: it has to be named in its"
                " line `commands`"
            )
        directory = self._store.directory()
        if isinstance(content, DashboardsCommand):
            return self._dashboards_effect(command, content, directory)
        site = next((one for one in self._policy.sites(directory) if one.site_id == content.site_id), None)
        if site is None:
            return command, CommandEffect(
                f"site {content.site_id!r} is none that this platform forwards from area"
                f" {self._policy.area!r}: commands may be about those only"
            )
        command = msgspec.structs.replace(command, area_id=site.area_id)
        if site.site_id in directory.origins:
            return command, CommandEffect(device=directory.origins[site.site_id])
        if isinstance(content, LimitsCommand):
            return command, self._limits_effect(content, directory)
        return command, _incident_effect(content, command, site)

    def _dashboards_effect(
        self, command: IssuedCommand, content: DashboardsCommand, directory: Directory
    ) -> tuple[IssuedCommand, CommandEffect]:
        """Save a dashboard here, or pass it on. Raises `DashboardsAwayError`."""
        area = content.area_id
        if area not in areas_below(directory.areas, self._policy.area):
            return command, CommandEffect(
                f"area {area!r} is none that this platform forwards from area {self._policy.area!r}"
            )
        command = msgspec.structs.replace(command, area_id=area)
        if problem := dashboard_problem(content.dashboard):
            return command, CommandEffect(problem)
        if area != self._policy.area:
            found = [device for device, own in self._commands.forwarders(area) if own == area]
            if not found:
                return command, CommandEffect(f"no town forwards for area {area!r} to this platform")
            return command, CommandEffect(device=found[0])
        return command, self._saved_dashboard(command, content.dashboard)

    def _saved_dashboard(self, command: IssuedCommand, dashboard: dict[str, Any]) -> CommandEffect:
        """Save a dashboard before the command is noted: saving it twice changes nothing."""
        if self._put_dashboard is None:
            return CommandEffect(
                "the forwarder of this platform has no access to Grafana: set TOWNTWIN_GRAFANA_URL and"
                " TOWNTWIN_GRAFANA_TOKEN in its environment"
            )
        if self._commands.is_received(command.command_id):
            return CommandEffect(is_done=True)
        if time.monotonic() < self._no_dashboards_until_s:
            raise DashboardsAwayError("Grafana did not answer a moment ago")
        refusal = self._put_dashboard(dashboard)
        return CommandEffect(refusal, is_done=not refusal)

    def _limits_effect(self, content: LimitsCommand, directory: Directory) -> CommandEffect:
        named = (content.site_id, content.quantity)
        series = next(
            (one for one in self._policy.series(directory) if (one.site_id, one.quantity) == named), None
        )
        if series is None:
            return CommandEffect(f"{content.site_id}/{content.quantity} is no series that is forwarded")
        problems = (
            limit_problems(msgspec.structs.replace(series, adopted=content.limits)) if content.limits else []
        )
        if problems:
            return CommandEffect(f"limits: {'; '.join(problems)}")
        return CommandEffect(limits=(series.series_id, content.limits))


def _incident_effect(content: IncidentCommand, command: IssuedCommand, site: Site) -> CommandEffect:
    fields = {
        name: value
        for name, value in content.incident.items()
        if name in Incident.__struct_fields__ and name not in GIVEN_HERE
    }
    fields |= {
        "area_id": site.area_id,
        "area_ids": [site.area_id],
        "main_site_id": site.site_id,
        "opened_s": time.time(),
        "opened_by": command.who,
    }
    try:
        incident = msgspec.convert(fields, Incident)
        entries = [
            msgspec.convert(msgspec.structs.asdict(one) | {"who": command.who}, HistoryEntry)
            for one in content.entries
        ]
    except msgspec.ValidationError as error:
        return CommandEffect(f"the incident can't be read: {error}; update this platform, if it is older")
    return CommandEffect(incident=IncidentUpdate(incident=incident, entries=entries))
