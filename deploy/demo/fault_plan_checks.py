"""Validates a plan of simulated faults against the enrolled sites, devices and networks of its towns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.errors import DeployError
from edge.simulator import FaultKind, PlannedFault, TownSpec
from edge.simulator.river import River
from edge.simulator.traffic_site import distances_km

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ingest_service.storage.contract.models import Directory

NETWORK_KINDS = frozenset({FaultKind.SLUG, FaultKind.DISCHARGE, FaultKind.INCIDENT})


class FaultPlanError(DeployError, ValueError):
    """A plan refers to what its towns don't have; each line names the fault and the remedy."""


def check_fault_plan(plan: Iterable[PlannedFault], enrolled: Directory, spec: TownSpec) -> None:
    """Raise `FaultPlanError` with one sentence for each problem."""
    river = River(spec, seed=0)
    problems = [
        f"fault {fault.fault_id!r} {sentence}"
        for fault in plan
        for sentence in _problems(fault, enrolled, spec, river)
    ]
    if problems:
        raise FaultPlanError("\n".join(problems))


def _problems(fault: PlannedFault, enrolled: Directory, spec: TownSpec, river: River) -> Iterator[str]:
    sites = {site.site_id for site in enrolled.sites}
    devices = {device.device_id for device in enrolled.devices}
    measured = {(series.site_id, series.quantity) for series in enrolled.series}
    for site_id in fault.site_ids:
        if site_id not in sites:
            yield f"shows at site {site_id!r}, which no site file holds: name one that is there"
    for device_id in fault.device_ids:
        if device_id not in devices:
            yield f"silences device {device_id!r}, which no site file holds: name one that is there"
    for quantity in fault.quantities:
        if not any((site_id, quantity) in measured for site_id in fault.site_ids):
            yield f"shows in {quantity!r}, which none of its sites measures: name another quantity or site"
    if fault.kind is FaultKind.SILENT and not fault.device_ids:
        yield "silences no device: name it in device_ids"
    if fault.kind is not FaultKind.SILENT and not fault.quantities:
        yield "shows in no quantity: name at least one in quantities"
    if fault.kind in NETWORK_KINDS:
        yield from _unreachable_sites(fault, spec, river)


def _unreachable_sites(fault: PlannedFault, spec: TownSpec, river: River) -> Iterator[str]:
    """Yield a problem for each site that an effect of the fault's origin can't reach."""
    if fault.origin is None:
        yield "begins nowhere: name a node in origin"
        return
    for site_id in fault.site_ids:
        node = next(
            (
                simulated_site.node_id
                for simulated_site in spec.simulated_sites
                if simulated_site.site_id == site_id
            ),
            site_id,
        )
        if fault.kind is FaultKind.INCIDENT:
            distances_both_ways = [
                distances_km(spec.road, fault.origin, upstream=upstream) for upstream in (True, False)
            ]
            reached = any(node in distances for distances in distances_both_ways)
        else:
            reached = river.travel_s(fault.origin, node) is not None
        if not reached:
            yield f"begins at {fault.origin!r}, from where nothing reaches {site_id!r}: take that site out"
