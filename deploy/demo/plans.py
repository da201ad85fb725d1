"""Validates a plan of faults against the towns that it is made for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.simulator import Fault, Kind, Spec
from edge.simulator.river import River
from edge.simulator.traffic import distances_km

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ingest_service.storage.model import Directory

NETWORK_KINDS = frozenset({Kind.SLUG, Kind.DISCHARGE, Kind.INCIDENT})


class PlanError(ValueError):
    """A plan names what its towns don't have; each line names the fault and what to do."""


def check(plan: Iterable[Fault], known: Directory, spec: Spec) -> None:
    """Raise `PlanError` with one sentence for everything that is wrong."""
    river = River(spec, seed=0)
    wrong = [
        f"fault {fault.fault_id!r} {sentence}"
        for fault in plan
        for sentence in _problems(fault, known, spec, river)
    ]
    if wrong:
        raise PlanError("\n".join(wrong))


def _problems(fault: Fault, known: Directory, spec: Spec, river: River) -> Iterator[str]:
    sites = {site.site_id for site in known.sites}
    devices = {device.device_id for device in known.devices}
    measured = {(series.site_id, series.quantity) for series in known.series}
    for site_id in fault.site_ids:
        if site_id not in sites:
            yield f"shows at site {site_id!r}, which no site file holds: name one that is there"
    for device_id in fault.device_ids:
        if device_id not in devices:
            yield f"silences device {device_id!r}, which no site file holds: name one that is there"
    for quantity in fault.quantities:
        if not any((site_id, quantity) in measured for site_id in fault.site_ids):
            yield f"shows in {quantity!r}, which none of its sites measures: name another quantity or site"
    if fault.kind is Kind.SILENT and not fault.device_ids:
        yield "silences no device: name it in device_ids"
    if fault.kind is not Kind.SILENT and not fault.quantities:
        yield "shows in no quantity: name at least one in quantities"
    if fault.kind in NETWORK_KINDS:
        yield from _unreached(fault, spec, river)


def _unreached(fault: Fault, spec: Spec, river: River) -> Iterator[str]:
    """Sites that what begins at the origin can't reach."""
    if fault.origin is None:
        yield "begins nowhere: name a node in origin"
        return
    for site_id in fault.site_ids:
        node = next((place.node_id for place in spec.places if place.site_id == site_id), site_id)
        if fault.kind is Kind.INCIDENT:
            ways = [distances_km(spec.road, fault.origin, upstream=upstream) for upstream in (True, False)]
            reached = any(node in way for way in ways)
        else:
            reached = river.travel_s(fault.origin, node) is not None
        if not reached:
            yield f"begins at {fault.origin!r}, from where nothing reaches {site_id!r}: take that site out"
