"""Reads the plan of faults of a simulated town (TOML), with the time within which each must be detected."""

from __future__ import annotations

import tomllib
from enum import StrEnum

import msgspec


class FaultKind(StrEnum):
    """Kind of a fault: of a sensor, a device, the river or a road."""

    SPIKE = "spike"  # size: added to the reading
    DRIFT = "drift"  # size: offset reached at the end, after which the sensor is calibrated
    STUCK = "stuck"  # the first reading in the window is repeated
    SILENT = "silent"  # nothing is sent
    SLUG = "slug"  # size: ammonia nitrogen released at `origin` at once [kg]
    DISCHARGE = "discharge"  # size: sewage let out at the outfall `origin`, as a multiple of its usual flow
    INCIDENT = "incident"  # size: share of the traffic held back at the node `origin`, 0 to 1


SENSOR_KINDS = frozenset({FaultKind.SPIKE, FaultKind.DRIFT, FaultKind.STUCK})


class PlannedFault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One planned fault. Times are relative to the present, where the history ends; negative is earlier.

    Attributes
    ----------
    fault_id : unique in the plan
    kind : see `FaultKind`
    site_ids : sites where it is visible; for a sensor fault, the sites with wrong readings
    device_ids : the devices that send nothing
    quantities : canonical names of the quantities affected; empty for a silent device
    start_s, end_s : it is active in ``[start_s, end_s)`` [s]
    size : see `FaultKind`; canonical unit of the quantity for sensor faults
    origin : node of the network where a slug, discharge or incident begins
    find_within_s : an anomaly at one of its sites and quantities must start within this after its start [s]
    en, zh : description of what happens
    """

    fault_id: str
    kind: FaultKind
    site_ids: tuple[str, ...]
    device_ids: tuple[str, ...] = ()
    quantities: tuple[str, ...] = ()
    start_s: float
    end_s: float
    size: float = 0.0
    origin: str | None = None
    find_within_s: float
    en: str
    zh: str

    def is_active(self, since_s: float) -> bool:
        """Whether it is active at a time relative to the present [s]."""
        return self.start_s <= since_s < self.end_s


class _FaultPlan(msgspec.Struct, forbid_unknown_fields=True):
    faults: list[PlannedFault]


def decode_plan(text: str) -> list[PlannedFault]:
    """Decode a plan, TOML with one ``[[faults]]`` per fault. Raises ValueError that states the error."""
    try:
        plan = msgspec.convert(tomllib.loads(text), _FaultPlan)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ValueError(f"the plan of faults can't be read: {error}") from error
    fault_ids: set[str] = set()
    for fault in plan.faults:
        if fault.fault_id in fault_ids:
            raise ValueError(f"fault {fault.fault_id!r} is planned twice: give each a fault_id of its own")
        if fault.end_s <= fault.start_s:
            raise ValueError(f"fault {fault.fault_id!r} ends before it starts: end_s must be after start_s")
        fault_ids.add(fault.fault_id)
    return plan.faults
