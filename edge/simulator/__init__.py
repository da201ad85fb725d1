"""Simulator of a cluster of towns with water and traffic sensors, from a seed and a plan of faults."""

from edge.simulator.fault_plan import FaultKind, PlannedFault
from edge.simulator.town import Town, TownDriver
from edge.simulator.town_spec import SimulatedLink, SimulatedSite, TownSpec, TownSpecError

__all__ = [
    "FaultKind",
    "PlannedFault",
    "SimulatedLink",
    "SimulatedSite",
    "Town",
    "TownDriver",
    "TownSpec",
    "TownSpecError",
]
