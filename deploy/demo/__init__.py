"""Defines the demo: three fictitious towns in Jiaxing on one river, simulated with a plan of faults."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from deploy import site_files
from deploy.demo import fault_plan_checks
from edge.simulator import PlannedFault, SimulatedLink, SimulatedSite, Town, TownSpec
from edge.simulator import fault_plan as written_faults
from ingest_service.storage.contract.duty import DutyPlan

if TYPE_CHECKING:
    from ingest_service.storage.contract.models import Device, Directory, Network

FOLDER = Path(__file__).parent
SITE_FILES = ("areas.toml", "tongxiang.toml", "nanhu.toml", "jiashan.toml")
PLAN_FILE = "faults.toml"
DUTY_FILE = "duty.toml"


@cache
def directory() -> Directory:
    """Return everything that the demo enrols."""
    return site_files.load_site_files(FOLDER / name for name in SITE_FILES)


@cache
def _plan() -> tuple[PlannedFault, ...]:
    text = (FOLDER / PLAN_FILE).read_text(encoding="utf-8")
    plan = written_faults.decode_plan(text)
    fault_plan_checks.check_fault_plan(plan, directory(), spec())
    return tuple(plan)


def plan() -> list[PlannedFault]:
    """Return the planned faults of the demo, with times relative to the present."""
    return list(_plan())


@cache
def duty_plan() -> DutyPlan:
    """Return the demo's grid cells, teams and rosters, on which somebody is on duty at any time."""
    return msgspec.convert(tomllib.loads((FOLDER / DUTY_FILE).read_text(encoding="utf-8")), DutyPlan)


@cache
def spec() -> TownSpec:
    """Return the demo's sites and networks as the simulator's input."""
    enrolled = directory()
    return TownSpec(
        simulated_sites=tuple(_simulated_site(enrolled, number) for number in range(len(enrolled.devices))),
        river=_links(enrolled, "river"),
        road=_links(enrolled, "road"),
        node_kinds={node.node_id: node.kind for node in enrolled.nodes},
    )


def town(*, seed: int, live_from_s: float, history_s: float, with_faults: bool = True) -> Town:
    """Return the simulated demo towns.

    Parameters
    ----------
    seed : of the random numbers; the same seed gives the same readings
    live_from_s : the present, Unix seconds [s]
    history_s : length of the history before it [s]
    with_faults : whether the planned faults are simulated
    """
    return Town(
        spec(), seed=seed, live_from_s=live_from_s, history_s=history_s, plan=plan() if with_faults else []
    )


def _simulated_site(enrolled: Directory, number: int) -> SimulatedSite:
    """Return a device as a simulated site; phases differ, so that readings arrive throughout the interval."""
    device: Device = enrolled.devices[number]
    channels = [channel for channel in enrolled.channels if channel.device_id == device.device_id]
    site = next(site for site in enrolled.sites if site.site_id == channels[0].site_id)
    interval_s = next(one.interval_s for one in enrolled.series if one.site_id == site.site_id)
    node_id = next((node.node_id for node in enrolled.nodes if node.site_id == site.site_id), None)
    return SimulatedSite(
        device_id=device.device_id,
        site_id=site.site_id,
        kind=site.kind,
        quantities=tuple(channel.quantity for channel in channels),
        node_id=node_id or site.site_id,
        interval_s=interval_s,
        phase_s=float(round(interval_s * number / len(enrolled.devices))),
    )


def _links(enrolled: Directory, network: Network) -> tuple[SimulatedLink, ...]:
    return tuple(
        SimulatedLink(
            from_node=link.from_node,
            to_node=link.to_node,
            length_m=link.length_m,
            speed_m_s=link.speed_m_s,
            lanes=link.lanes or 1,
        )
        for link in enrolled.links
        if link.network == network
    )
