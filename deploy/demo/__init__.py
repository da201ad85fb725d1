"""The demo: three made-up towns in Jiaxing on one river, played by the simulator with a plan of faults."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from deploy import sites
from deploy.demo import plans
from edge.simulator import Fault, Link, Place, Spec, Town
from edge.simulator import faults as written_faults

if TYPE_CHECKING:
    from ingest_service.storage.model import Device, Directory, Network

FOLDER = Path(__file__).parent
SITE_FILES = ("areas.toml", "tongxiang.toml", "nanhu.toml", "jiashan.toml")
PLAN_FILE = "faults.toml"


@cache
def directory() -> Directory:
    """Everything that the demo enrols."""
    return sites.load(FOLDER / name for name in SITE_FILES)


@cache
def _plan() -> tuple[Fault, ...]:
    text = (FOLDER / PLAN_FILE).read_text(encoding="utf-8")
    plan = written_faults.decode(text)
    plans.check(plan, directory(), spec())
    return tuple(plan)


def plan() -> list[Fault]:
    """What goes wrong in the demo, in time relative to the present."""
    return list(_plan())


@cache
def spec() -> Spec:
    """The demo's places and networks, as the simulator takes them."""
    known = directory()
    return Spec(
        places=tuple(_place(known, number) for number in range(len(known.devices))),
        river=_links(known, "river"),
        road=_links(known, "road"),
        node_kinds={node.node_id: node.kind for node in known.nodes},
    )


def town(*, seed: int, live_from_s: float, history_s: float, faulty: bool = True) -> Town:
    """The demo towns, ready to be read.

    Parameters
    ----------
    seed : same seed, same readings
    live_from_s : the present, Unix seconds [s]
    history_s : how long before it they begin [s]
    faulty : whether the plan of faults is played
    """
    return Town(
        spec(), seed=seed, live_from_s=live_from_s, history_s=history_s, plan=plan() if faulty else []
    )


def _place(known: Directory, number: int) -> Place:
    """A device as a place; devices take turns within the interval, so that something always arrives."""
    device: Device = known.devices[number]
    channels = [channel for channel in known.channels if channel.device_id == device.device_id]
    site = next(site for site in known.sites if site.site_id == channels[0].site_id)
    interval_s = next(one.interval_s for one in known.series if one.site_id == site.site_id)
    node_id = next((node.node_id for node in known.nodes if node.site_id == site.site_id), None)
    return Place(
        device_id=device.device_id,
        site_id=site.site_id,
        kind=site.kind,
        quantities=tuple(channel.quantity for channel in channels),
        node_id=node_id or site.site_id,
        interval_s=interval_s,
        phase_s=float(round(interval_s * number / len(known.devices))),
    )


def _links(known: Directory, network: Network) -> tuple[Link, ...]:
    return tuple(
        Link(
            from_node=link.from_node,
            to_node=link.to_node,
            length_m=link.length_m,
            speed_m_s=link.speed_m_s,
            lanes=link.lanes or 1,
        )
        for link in known.links
        if link.network == network
    )
