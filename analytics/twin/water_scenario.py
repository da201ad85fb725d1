"""Computes what a spill, a sluice, a pump or rain would do to a river in steady flow.

Water leaves a node by its reaches in given shares. A sluice lies at the beginning of its reach: opened to a
part f it lets through f of the usual share. The rest takes the node's other reaches, in proportion to their
shares; without any, it is held back: stored before the sluice with what is in it, beside the river. Pumps and
rain add or take water at a node. Flows follow a change at once; volumes, cross-sections and directions stay:
no levels are computed, and water that was held back isn't released when the sluice opens.

Transport is that of `water_transport`, in steps within which nothing changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.sparse import csc_array, eye_array
from scipy.sparse.linalg import spsolve

from analytics.errors import TwinModelError
from analytics.twin.water_transport import FlowField, TransportModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from analytics.twin.channel_grid import ChannelGrid
    from analytics.twin.water_response import ModelVariant
    from analytics.twin.water_transport import StepOperator

    Floats = NDArray[np.float64]
    Indices = NDArray[np.intp]

# Of the water that a circle of reaches would carry round for ever; rivers have no such circles.
LOST_SHARE = 1e-9
NEGLIGIBLE = 1e-9  # of the largest flow: rounding


class SluiceOpening(NamedTuple):
    """The sluice at the beginning of a reach is open to a part, 0 to 1, for a time [s]."""

    reach: int
    opening: float
    from_s: float
    to_s: float


class AddedWater(NamedTuple):
    """A pump or rain adds water at a node for a time [s]; below 0 takes it out [m³/s]."""

    node: int
    discharge_m3_s: float
    from_s: float
    to_s: float


class Spill(NamedTuple):
    """Mass [kg] that enters at a node, evenly over a time [s]."""

    node: int
    mass_kg: float
    from_s: float
    to_s: float


@dataclass(frozen=True, slots=True)
class SteadyRiver:
    """A river in its usual flow.

    Attributes
    ----------
    grid : cells; the first are those of the nodes
    tail, head : (n_reaches,) nodes
    share : (n_reaches,) of what leaves the node at its beginning
    inflow_m3_s : (n_nodes,) from outside [m³/s]

    """

    grid: ChannelGrid
    tail: Indices
    head: Indices
    share: Floats
    inflow_m3_s: Floats

    @property
    def discharge_m3_s(self) -> Floats:
        """Usual discharge of each reach, (n_reaches,) [m³/s]."""
        through = throughflow(self.tail, self.head, self.share, self.inflow_m3_s)
        discharge: Floats = self.share * through[self.tail]
        return discharge


class ScenarioFlow(NamedTuple):
    """Flow while the same changes last.

    Attributes
    ----------
    discharge_m3_s : (n_reaches,)
    held_back_m3_s : (n_nodes,) what stays at a node, since no reach takes it
    inflow_m3_s, outflow_m3_s : (n_nodes,) from and to outside, what is held back included
    opening : (n_reaches,) of the sluices

    """

    discharge_m3_s: Floats
    held_back_m3_s: Floats
    inflow_m3_s: Floats
    outflow_m3_s: Floats
    opening: Floats


class WaterScenarioRun(NamedTuple):
    """Result: for each step its end [s], flow, and concentrations at the nodes.

    Attributes
    ----------
    time_s : (n_steps,) ends of the steps [s]
    flows : of each step
    concentration_g_m3 : (n_steps, n_nodes) added by the spills [g/m³ = mg/L]

    """

    time_s: Floats
    flows: list[ScenarioFlow]
    concentration_g_m3: Floats

    @property
    def held_back_kg(self) -> Floats:
        """Mass in the water that was held back at each node, (n_nodes,) [kg]."""
        held = np.stack([one.held_back_m3_s for one in self.flows])
        mass_kg: Floats = 1e-3 * float(self.time_s[0]) * (held * self.concentration_g_m3).sum(axis=0)
        return mass_kg


def throughflow(tail: Indices, head: Indices, share: Floats, inflow_m3_s: Floats) -> Floats:
    """Return the flow through each node: what enters there and what its reaches bring, (n_nodes,) [m³/s]."""
    n = len(inflow_m3_s)
    brought = csc_array((share * (1 - LOST_SHARE), (head, tail)), shape=(n, n))
    through: Floats = spsolve(csc_array(eye_array(n) - brought), inflow_m3_s)
    return through


def changed_flow(
    river: SteadyRiver, sluices: Sequence[SluiceOpening], added: Sequence[AddedWater]
) -> ScenarioFlow:
    """Return the flow with some changes.

    Raises
    ------
    TwinModelError
        If an opening is not from 0 to 1, or more water is taken out at a node than flows there.

    """
    opening = np.ones(len(river.tail))
    for one in sluices:
        if not 0 <= one.opening <= 1:
            raise TwinModelError(f"opening {one.opening:g} of reach {one.reach}: it is from 0 to 1")
        opening[one.reach] = min(opening[one.reach], one.opening)
    n = len(river.inflow_m3_s)
    is_other = opening == 1
    spare = np.bincount(river.tail, river.share * (1 - opening), n)
    others = np.bincount(river.tail, river.share * is_other, n)
    more = np.divide(spare, others, out=np.zeros(n), where=others > 0)
    share = river.share * opening * (1 + np.where(is_other, more[river.tail], 0))
    water = np.zeros(n)
    np.add.at(water, [one.node for one in added], [one.discharge_m3_s for one in added])
    through = throughflow(river.tail, river.head, share, river.inflow_m3_s + water)
    tolerance = NEGLIGIBLE * float(np.abs(through).max(initial=0.0))
    for node in np.flatnonzero((through < -tolerance) & (water < 0))[:1]:
        taken = -water[node]
        raise TwinModelError(
            f"at node {node}, {taken:.3g} m³/s are taken out, and only {through[node] + taken:.3g} m³/s flow "
            "there: take out less; flow that turns round isn't computed"
        )
    through = np.maximum(through, 0)
    is_mouth = np.bincount(river.tail, minlength=n) == 0
    held = np.where(is_mouth | (others > 0), 0.0, spare) * through
    held[held < tolerance] = 0.0
    return ScenarioFlow(
        share * through[river.tail],
        held,
        river.inflow_m3_s + np.maximum(water, 0),
        np.where(is_mouth, through, 0.0) + held + np.maximum(-water, 0),
        opening,
    )


def run_water_scenario(
    river: SteadyRiver,
    *,
    spills: Sequence[Spill],
    sluices: Sequence[SluiceOpening] = (),
    added: Sequence[AddedWater] = (),
    n_steps: int,
    dt_s: float,
    variant: ModelVariant,
    dispersion_m2_s: float,
    decay_per_s: float,
) -> WaterScenarioRun:
    """Compute flows and concentrations over equal steps from time 0, at which no substance is there.

    A change applies in the steps whose middle it holds; a spill has its whole mass within the steps.

    Raises
    ------
    TwinModelError
        As `changed_flow`.

    """
    grid = river.grid.scaled(variant.velocity_factor)
    model = TransportModel(grid)
    dispersion = np.full(len(grid.reach), dispersion_m2_s * variant.dispersion_factor)
    sluice_face = np.unique(grid.reach, return_index=True)[
        1
    ]  # the first face of each reach, where its sluice is
    flows: dict[tuple[bool, ...], ScenarioFlow] = {}
    found: list[ScenarioFlow] = []
    concentration = np.zeros((n_steps, grid.n_nodes))
    mass = np.zeros(grid.n_cells)
    operator: StepOperator | None = None
    last: ScenarioFlow | None = None
    releases = _release_rates(spills, n_steps, dt_s)
    timed: list[SluiceOpening | AddedWater] = [*sluices, *added]
    for step in range(n_steps):
        middle_s = (step + 0.5) * dt_s
        active = tuple(one.from_s <= middle_s < one.to_s for one in timed)
        if active not in flows:
            flows[active] = changed_flow(
                river,
                [one for one, is_on in zip(sluices, active, strict=False) if is_on],
                [one for one, is_on in zip(added, active[len(sluices) :], strict=True) if is_on],
            )
        flow = flows[active]
        found.append(flow)
        if not spills:
            continue
        if operator is None or flow is not last:
            exchange = dispersion.copy()
            exchange[sluice_face] *= flow.opening
            operator = model.step(
                _field(grid, flow),
                dt_s,
                dispersion_m2_s=exchange,
                decay_per_s=decay_per_s,
            )
        last = flow
        source = np.zeros(grid.n_cells)
        for spill, rates in zip(spills, releases, strict=True):
            source[spill.node] += rates[step]
        mass = operator.forward(mass, source)
        concentration[step] = (mass / grid.volume_m3)[: grid.n_nodes]
    time_s: Floats = dt_s * np.arange(1, n_steps + 1, dtype=np.float64)
    added_g_m3: Floats = np.maximum(concentration, 0)
    return WaterScenarioRun(time_s, found, added_g_m3)


def _field(grid: ChannelGrid, flow: ScenarioFlow) -> FlowField:
    inflow, outflow = np.zeros(grid.n_cells), np.zeros(grid.n_cells)
    inflow[: grid.n_nodes], outflow[: grid.n_nodes] = flow.inflow_m3_s, flow.outflow_m3_s
    return FlowField(flow.discharge_m3_s[grid.reach], inflow, outflow)


def _release_rates(spills: Sequence[Spill], n_steps: int, dt_s: float) -> list[Floats]:
    """Return the rate of each spill in each step [g/s], so that its whole mass is within the steps."""
    begins = dt_s * np.arange(n_steps)
    rates = []
    for spill in spills:
        to_s = max(spill.to_s, spill.from_s + 1e-6)
        overlap = np.clip(np.minimum(begins + dt_s, to_s) - np.maximum(begins, spill.from_s), 0, None)
        rates.append(1e3 * spill.mass_kg / (to_s - spill.from_s) * overlap / dt_s)
    return rates
