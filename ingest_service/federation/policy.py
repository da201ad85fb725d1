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

if TYPE_CHECKING:
    from pathlib import Path

    from ingest_service.storage.contract.models import Directory, Series, Site


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a town forwards.

    Attributes
    ----------
    area : the town's area, by its id at both platforms; nothing outside it is forwarded
    device : of the forwarder, as it is enrolled at the county
    readings : all, or none
    anomalies, incidents : whether they and their changes are forwarded
    history_days : readings from before the first start that are forwarded [d]
    commands : kinds of commands that the county may give
    leave_out_sites, leave_out_quantities : of which nothing is forwarded

    """

    area: str
    device: str
    readings: Literal["all", "none"] = "all"
    anomalies: bool = True
    incidents: bool = True
    history_days: Annotated[float, Meta(ge=0, le=36_500)] = 30.0
    commands: list[CommandKind] = []
    leave_out_sites: list[str] = []
    leave_out_quantities: list[str] = []

    def sites(self, directory: Directory) -> list[Site]:
        """Return the sites that the county may see."""
        areas = areas_below(directory, self.area)
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


def areas_below(directory: Directory, area: str) -> set[str]:
    """Return the ids of an area and of all areas below it."""
    found = {area}
    while more := {one.area_id for one in directory.areas if one.parent in found} - found:
        found |= more
    return found


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
    missing = set(policy.leave_out_sites) - {one.site_id for one in directory.sites}
    if missing:
        raise FederationError(
            f"leave_out_sites of the policy: {', '.join(sorted(missing))} is not enrolled here"
        )
