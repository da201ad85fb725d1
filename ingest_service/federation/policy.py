"""Reads from a TOML file what a town forwards to its county."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from edge.wire.errors import TopicError
from edge.wire.federation_commands import CommandKind  # noqa: TC001 - msgspec reads the annotations
from edge.wire.quantities import QUANTITIES
from edge.wire.topics import Topic, TopicKind, parse_topic
from ingest_service.federation.errors import FederationError
from ingest_service.storage.contract.area_tree import areas_below

if TYPE_CHECKING:
    from pathlib import Path

    from ingest_service.storage.contract.models import Directory, Series, Site


Form = Literal["all", "rollups", "none"]
"""Form in which readings are forwarded."""


class PolicyException(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another form for some series: those to which every list that is given applies.

    Attributes
    ----------
    readings : form of their readings
    quantities, areas, sites : of the series; an area includes those below it

    """

    readings: Form
    quantities: list[str] | None = None
    areas: list[str] | None = None
    sites: list[str] | None = None


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a town forwards.

    Attributes
    ----------
    area : the town's area, by its id at both platforms; nothing outside it is forwarded
    device : of the forwarder, as it is enrolled at the county
    readings : all, their rollups over 15 min, or none
    exceptions : other forms for some series; the first that applies counts
    anomalies, incidents, device_health, assessments : whether they and their changes are forwarded
    networks : whether nodes and links are, from which the county computes the state of its twin
    estimates : whether estimates at the nodes are, of quantities of which the county lacks readings
    forecasts : whether the newest forecasts of series are, of which it has readings or rollups
    history_days : readings from before the first start that are forwarded [d]
    commands : kinds of commands that the county may give
    leave_out_sites, leave_out_quantities : of which nothing is forwarded

    """

    area: str
    device: str
    readings: Form = "all"
    exceptions: list[PolicyException] = []
    anomalies: bool = True
    incidents: bool = True
    device_health: bool = True
    assessments: bool = True
    networks: bool = False
    estimates: bool = False
    forecasts: bool = False
    history_days: Annotated[float, Meta(ge=0, le=36_500)] = 30.0
    commands: list[CommandKind] = []
    leave_out_sites: list[str] = []
    leave_out_quantities: list[str] = []

    def sites(self, directory: Directory) -> list[Site]:
        """Return the sites that the county may see."""
        areas = areas_below(directory.areas, self.area)
        return [
            one for one in directory.sites if one.area_id in areas and one.site_id not in self.leave_out_sites
        ]

    def series(self, directory: Directory) -> list[Series]:
        """Return the series that the county may see."""
        sites = {one.site_id for one in self.sites(directory)}
        return [
            one
            for one in directory.series
            if one.site_id in sites and one.quantity not in self.leave_out_quantities
        ]

    def forms(self, directory: Directory) -> dict[int, Form]:
        """Return the form in which each series is forwarded, by its id.

        Of a series that is received as rollups, there are no readings to forward.
        """
        area_of = {one.site_id: one.area_id for one in directory.sites}
        named = {area for one in self.exceptions for area in one.areas or ()}
        below = {area: areas_below(directory.areas, area) for area in named}
        forms: dict[int, Form] = {}
        for series in self.series(directory):
            form = self.readings
            for one in self.exceptions:
                areas = None if one.areas is None else set[str]().union(*(below[area] for area in one.areas))
                if (
                    (one.quantities is None or series.quantity in one.quantities)
                    and (areas is None or area_of[series.site_id] in areas)
                    and (one.sites is None or series.site_id in one.sites)
                ):
                    form = one.readings
                    break
            is_rolled_up = series.series_id in directory.only_rollups
            forms[series.series_id] = "rollups" if form == "all" and is_rolled_up else form
        return forms


def read_policy(path: Path) -> Policy:
    """Read the file. Raises `FederationError` with every problem, one per line."""
    try:
        policy = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Policy)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise FederationError(f"{path}: {error}") from error
    problems = [
        f"{path}: leave_out_quantities: {name!r} is no quantity"
        for name in policy.leave_out_quantities
        if name not in QUANTITIES
    ]
    problems += [
        f"{path}: exceptions: {name!r} is no quantity"
        for one in policy.exceptions
        for name in one.quantities or ()
        if name not in QUANTITIES
    ]
    if policy.estimates and not policy.networks:
        problems.append(f"{path}: estimates: the county needs the nodes for them: set networks = true")
    try:
        parse_topic(str(Topic(policy.area, policy.device, TopicKind.FEDERATION)))
    except TopicError as error:
        problems.append(f"{path}: {error}")
    if problems:
        raise FederationError("\n".join(problems))
    return policy


def check_policy(policy: Policy, directory: Directory) -> None:
    """Raise `FederationError` if a policy names what this platform does not have."""
    if policy.area not in {one.area_id for one in directory.areas}:
        raise FederationError(f"area {policy.area!r} of the policy is not enrolled here")
    named = {
        "leave_out_sites": (policy.leave_out_sites, {one.site_id for one in directory.sites}),
        "sites of exceptions": (
            [name for one in policy.exceptions for name in one.sites or ()],
            {one.site_id for one in directory.sites},
        ),
        "areas of exceptions": (
            [name for one in policy.exceptions for name in one.areas or ()],
            areas_below(directory.areas, policy.area),
        ),
    }
    for what, (names, present) in named.items():
        missing = sorted(set(names) - present)
        if missing:
            raise FederationError(f"{what} of the policy: {', '.join(missing)} is not enrolled here")
