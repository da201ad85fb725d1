"""Simulates a sensor: autocorrelated noise, drift between calibrations, planned faults, and resolution."""

from __future__ import annotations

from math import isclose
from random import Random
from typing import TYPE_CHECKING

import msgspec

from edge.simulator.fault_plan import SENSOR_KINDS, FaultKind, PlannedFault
from edge.simulator.time_cycles import DAY_S
from edge.wire.quantities import Quantity, to_canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

CALIBRATED_EVERY_S = 14 * DAY_S
MAX_DRIFT_SPREADS = 1.5
"""Largest drift between two calibrations, which reset it to 0, in units of `Noise.slow`."""
WIRE_DIGITS = 12


class Noise(msgspec.Struct, frozen=True):
    """Noise of a quantity's readings, in canonical units or relative to the value.

    Attributes
    ----------
    slow : standard deviation of the autocorrelated part (AR(1)), due to the water itself
    memory : its correlation from one tick to the next, 5 minutes later
    quick : standard deviation of the uncorrelated part, due to the sensor
    relative : whether both are relative to the value
    step : resolution of the sensors in the field, if finer than the registry's
    """

    slow: float
    memory: float
    quick: float
    relative: bool = False
    step: float | None = None


NO_NOISE = Noise(0.0, 0.0, 0.0)
NOISE: Mapping[str, Noise] = {
    "water_temperature": Noise(0.35, 0.999, 0.008, step=0.01),
    "ph": Noise(0.018, 0.995, 0.004),
    "dissolved_oxygen": Noise(0.13, 0.996, 0.01),
    "conductivity": Noise(0.005, 0.996, 0.0004, relative=True, step=0.1),
    "turbidity": Noise(0.052, 0.94, 0.032, relative=True),
    "ammonia_nitrogen": Noise(0.03, 0.98, 0.03, relative=True),
    "permanganate_index": Noise(0.02, 0.98, 0.012, relative=True, step=0.01),
    "total_phosphorus": Noise(0.02, 0.98, 0.015, relative=True),
    "total_nitrogen": Noise(0.02, 0.98, 0.012, relative=True),
    "water_level": Noise(0.0045, 0.97, 0.001),
    "water_velocity": Noise(0.012, 0.9, 0.008),
    "discharge": Noise(0.03, 0.95, 0.03, relative=True),
    "air_temperature": Noise(0.35, 0.985, 0.08),
}


def make_sensor(
    quantity: Quantity, site_id: str, faults: Iterable[PlannedFault], *, seed: int, origin_s: float
) -> Callable[[float, float], float]:
    """Build a sensor: a function of time and true value (canonical unit) that returns the wire unit.

    It must be called tick by tick, for the noise and a stuck sensor depend on earlier ticks.
    """
    noise = NOISE.get(quantity.name, NO_NOISE)
    random_source = Random(f"{seed}/{site_id}/{quantity.name}/sensor")
    gauss = random_source.gauss
    drift_size = random_source.uniform(-MAX_DRIFT_SPREADS, MAX_DRIFT_SPREADS) * noise.slow
    drift_phase = Random(
        f"{seed}/{site_id}/visits"
    ).random()  # all sensors of a site are calibrated in one visit
    memory, slow_step = noise.memory, noise.slow * (1 - noise.memory**2) ** 0.5
    slow = gauss(0.0, noise.slow)
    sensor_faults = [fault for fault in faults if fault.kind in SENSOR_KINDS]
    stuck: dict[str, float] = {}
    to_wire = _wire_rounding(quantity, noise.step or quantity.resolution)

    def read(time_s: float, truth: float) -> float:
        nonlocal slow
        slow = memory * slow + gauss(0.0, slow_step)
        since_s = time_s - origin_s
        drift = drift_size * ((since_s / CALIBRATED_EVERY_S + drift_phase) % 1.0)
        error_value = slow + gauss(0.0, noise.quick) + drift
        value = truth * (1 + error_value) if noise.relative else truth + error_value
        for fault in sensor_faults:
            if fault.is_active(since_s):
                value = _with_fault(fault, value, since_s, stuck)
        return to_wire(value)

    return read


def _with_fault(fault: PlannedFault, value: float, since_s: float, stuck: dict[str, float]) -> float:
    if fault.kind is FaultKind.STUCK:
        return stuck.setdefault(fault.fault_id, value)
    if fault.kind is FaultKind.DRIFT:
        return value + fault.size * (since_s - fault.start_s) / (fault.end_s - fault.start_s)
    return value + fault.size


def _wire_rounding(quantity: Quantity, step: float) -> Callable[[float], float]:
    """Build a function that clips a value, rounds it to the resolution, and converts it to the wire unit."""
    conversion = to_canonical(quantity, quantity.wire_unit)
    scale, offset = conversion.scale, conversion.offset
    low, high = quantity.low, quantity.high
    decimal = isclose(round(step / scale, WIRE_DIGITS) * scale, step, rel_tol=1e-14)

    def to_wire(value: float) -> float:
        wire = (round(min(high, max(low, value)) / step) * step - offset) / scale
        return round(wire, WIRE_DIGITS) if decimal else wire  # 0.0078 kg/m3, not 0.0078000000000000005

    return to_wire
