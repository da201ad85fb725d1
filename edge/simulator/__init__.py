"""Simulator of a cluster of towns with water and traffic sensors, from a seed and a plan of faults."""

from edge.simulator.faults import Fault, Kind
from edge.simulator.spec import Link, Place, Spec, SpecError
from edge.simulator.town import Town, TownDriver

__all__ = ["Fault", "Kind", "Link", "Place", "Spec", "SpecError", "Town", "TownDriver"]
