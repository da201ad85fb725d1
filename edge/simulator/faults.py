"""The written plan of what goes wrong in a simulated town, and by when it must be found."""

from __future__ import annotations

import tomllib
from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """What can go wrong: the sensor, the device, the river, the road."""

    SPIKE = "spike"  # size: added to the reading
    DRIFT = "drift"  # size: reached at the end, from where the sensor is calibrated
    STUCK = "stuck"  # the first reading in the window is repeated
    SILENT = "silent"  # nothing is sent
    SLUG = "slug"  # size: ammonia nitrogen released at `origin` at once [kg]
    DISCHARGE = "discharge"  # size: sewage let out at the outfall `origin`, as a multiple of its usual flow
    INCIDENT = "incident"  # size: share of the traffic held back at the node `origin`, 0 to 1


SENSOR_KINDS = frozenset({Kind.SPIKE, Kind.DRIFT, Kind.STUCK})


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One planned fault. Times count from the present, where the history ends; negative is before it.

    Attributes
    ----------
    fault_id : unique in the plan
    kind : see `Kind`
    site_ids : where it shows; for a sensor fault, the sites whose readings are spoilt
    device_ids : the devices that fall silent
    quantities : canonical names of what it shows in; empty for a silent device
    start_s, end_s : it works in ``[start_s, end_s)`` [s]
    size : see `Kind`; canonical unit of the quantity for sensor faults
    origin : node of the network where a slug, discharge or incident begins
    find_within_s : an anomaly at one of its sites and quantities must begin so soon after its start [s]
    en, zh : what happens, in words
    """

    fault_id: str
    kind: Kind
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

    def covers(self, since_s: float) -> bool:
        """Whether it works so long after the present [s]."""
        return self.start_s <= since_s < self.end_s


class _Plan(msgspec.Struct, forbid_unknown_fields=True):
    faults: list[Fault]


def decode(text: str) -> list[Fault]:
    """Read a plan, TOML with one ``[[faults]]`` each. Raises ValueError that names what is wrong."""
    try:
        plan = msgspec.convert(tomllib.loads(text), _Plan)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ValueError(f"the plan of faults can't be read: {error}") from error
    known: set[str] = set()
    for fault in plan.faults:
        if fault.fault_id in known:
            raise ValueError(f"fault {fault.fault_id!r} is planned twice: give each a fault_id of its own")
        if fault.end_s <= fault.start_s:
            raise ValueError(f"fault {fault.fault_id!r} ends before it starts: end_s must be after start_s")
        known.add(fault.fault_id)
    return plan.faults
