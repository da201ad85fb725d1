"""Compares the transport of water quality with analytic solutions, and holds what must hold at any step.

Orders of convergence are observed: log2 of the ratio of the errors of two grids, the finer with half the cell
and half the step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erfcx

from analytics.core.oxygen_solubility import oxygen_saturation
from analytics.errors import TwinModelError
from analytics.twin import water_quality
from analytics.twin.channel_grid import ChannelGrid, divide_reaches
from analytics.twin.dominant_system import FACTORISE_AFTER, LEAST_CELLS
from analytics.twin.water_transport import FlowField, TransportModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

AREA = 10.0


def canal(length_m: float, cell_m: float) -> tuple[ChannelGrid, Floats]:
    """Return the cells of a straight canal, and the order of its cells from its beginning."""
    grid = divide_reaches(
        2,
        np.array([0]),
        np.array([1]),
        length_m=np.array([length_m]),
        area_m2=np.array([AREA]),
        cell_m=cell_m,
    )
    return grid, np.r_[0, np.arange(2, grid.n_cells), 1]


def observed_order(coarse: float, fine: float) -> float:
    return float(np.log2(coarse / fine))


def gaussian(x_m: Floats, t_s: float, velocity: float, dispersion: float, decay: float) -> Floats:
    """Return the concentration of 1 g released at x = 0, t = 0 into a section of `AREA`."""
    spread = 4 * dispersion * t_s
    value: Floats = np.exp(-((x_m - velocity * t_s) ** 2) / spread - decay * t_s) / (
        AREA * np.sqrt(np.pi * spread)
    )
    return value


def pulse_error(cell_m: float, dt_s: float, *, stages: Literal[1, 2], turn: bool = False) -> float:
    """Return the relative error (L1) of a pulse after 2 h; ``turn`` reverses the flow half-way."""
    velocity, dispersion, decay, begin_s = 0.2, 10.0, 2e-5, 3600.0
    grid, order = canal(6000.0, cell_m)
    x_m = np.linspace(-2000, 4000, len(order))
    model = TransportModel(grid)
    mass = np.zeros(grid.n_cells)
    mass[order] = gaussian(x_m, begin_s, velocity, dispersion, decay)
    mass *= grid.volume_m3
    n_steps = round(7200 / dt_s)
    for number in range(n_steps):
        sign = -1 if turn and number >= n_steps // 2 else 1
        flow = FlowField.steady(grid, np.full(len(grid.tail), sign * velocity * AREA))
        step = model.step(flow, dt_s, dispersion_m2_s=dispersion, decay_per_s=decay, stages=stages)
        mass = step.forward(mass)
    end_s = begin_s + 7200
    shifted = x_m - velocity * (begin_s - end_s if turn else 0)
    exact = gaussian(shifted, end_s, velocity, dispersion, decay)
    return float(np.abs((mass / grid.volume_m3)[order] - exact).sum() / exact.sum())


@pytest.mark.parametrize("turn", [False, True])
def test_a_pulse_disperses_and_decays_with_second_order(turn: bool) -> None:  # noqa: FBT001 - a case
    coarse, fine = (pulse_error(cell, 1.5 * cell, stages=2, turn=turn) for cell in (40.0, 20.0))
    assert fine < 0.005
    assert 1.8 < observed_order(coarse, fine) < 2.2  # observed: 2.0


def test_one_stage_is_of_first_order() -> None:
    coarse, fine = (pulse_error(20.0, dt, stages=1) for dt in (240.0, 120.0))
    assert 0.8 < observed_order(coarse, fine) < 1.2  # observed: 0.9


def step_error(cell_m: float) -> float:
    """Return the greatest error of a front behind a held concentration of 1 (Ogata and Banks), 0 … 2 km."""
    velocity, dispersion, end_s = 0.1, 5.0, 6000.0
    grid, order = canal(4000.0, cell_m)
    flow = FlowField.steady(grid, np.full(len(grid.tail), velocity * AREA))
    volume = grid.volume_m3.copy()
    volume[0] = 1e12  # so much water that its concentration stays
    mass = np.zeros(grid.n_cells)
    mass[0] = volume[0]
    n_steps = round(end_s / (2 * cell_m))
    step = TransportModel(grid).step(
        flow, end_s / n_steps, dispersion_m2_s=dispersion, volume_m3=volume, stages=2
    )
    for _ in range(n_steps):
        mass = step.forward(mass)
    x_m = np.linspace(0, 4000, len(order))
    root = np.sqrt(4 * dispersion * end_s)
    before, behind = (x_m - velocity * end_s) / root, (x_m + velocity * end_s) / root
    falling = np.exp(-(before**2))
    exact = 0.5 * (np.where(before > 0, erfcx(np.abs(before)), 0) * falling + falling * erfcx(behind))
    exact += 0.5 * np.where(before <= 0, 2 - erfcx(np.abs(before)) * falling, 0)
    return float(np.abs((mass / volume)[order] - exact)[x_m <= 2000].max())


def test_a_front_behind_a_held_concentration_is_that_of_ogata_and_banks() -> None:
    coarse, fine = step_error(40.0), step_error(20.0)
    assert fine < 0.004
    assert observed_order(coarse, fine) > 1.5  # a jump at the beginning; observed: 1.9


def test_a_sharp_step_without_dispersion_neither_overshoots_nor_is_lost() -> None:
    grid, order = canal(2000.0, 20.0)
    flow = FlowField.steady(grid, np.full(len(grid.tail), 2.0))
    step = TransportModel(grid).step(flow, 60.0, dispersion_m2_s=0.0, stages=1)
    mass = np.zeros(grid.n_cells)
    for _ in range(80):  # 4,800 s at 0.2 m/s: the front is at 960 m
        mass = step.forward(mass, flow.inflow_m3_s)
    concentration = (mass / grid.volume_m3)[order]
    assert concentration.min() >= 0
    assert concentration.max() <= 1 + 1e-12
    assert (np.diff(concentration) <= 1e-15).all()
    assert np.interp(0.5, concentration[::-1], np.linspace(2000, 0, len(order))) == pytest.approx(
        960, rel=0.03
    )


def sag_error(cell_m: float) -> float:
    """Return the greatest error of the steady oxygen deficit along 40 km of river [mg/L]."""
    velocity, kd, ka, bod, deficit = 0.25, 0.3, 0.7, 15.0, 1.0
    grid, order = canal(40_000.0, cell_m)
    flow = FlowField.steady(grid, np.full(len(grid.tail), velocity * AREA))
    model, saturation = TransportModel(grid), float(oxygen_saturation(20.0))
    kd_s, ka_s = kd / water_quality.DAY_S, ka / water_quality.DAY_S
    demand_step, oxygen_step = (
        model.step(flow, 1e9, dispersion_m2_s=0.0, decay_per_s=rate, stages=1) for rate in (kd_s, ka_s)
    )
    state = water_quality.oxygen_step(
        demand_step,
        oxygen_step,
        water_quality.OxygenState(np.zeros(grid.n_cells), np.zeros(grid.n_cells)),
        kd_per_s=kd_s,
        ka_per_s=ka_s,
        saturation_mg_l=saturation,
        demand_in_g_s=bod * flow.inflow_m3_s,
        oxygen_in_g_s=(saturation - deficit) * flow.inflow_m3_s,
    )
    found = saturation - (state.oxygen_g / grid.volume_m3)[order]
    travel_s = np.linspace(0, 40_000, len(order)) / velocity
    exact = water_quality.oxygen_deficit(
        travel_s, kd_per_day=kd, ka_per_day=ka, bod_mg_l=bod, deficit_mg_l=deficit
    )
    return float(np.abs(found - exact).max())


def test_oxygen_sags_as_streeter_and_phelps_have_it() -> None:
    coarse, fine = sag_error(200.0), sag_error(100.0)
    assert fine < 0.02
    assert 0.9 < observed_order(coarse, fine) < 1.1  # upwind without dispersion; observed: 1.0


def test_the_sag_has_a_limit_where_both_coefficients_are_equal() -> None:
    options = {"bod_mg_l": 15.0, "deficit_mg_l": 1.0}
    equal = water_quality.oxygen_deficit(1e5, kd_per_day=0.5, ka_per_day=0.5, **options)
    close = water_quality.oxygen_deficit(1e5, kd_per_day=0.5, ka_per_day=0.5 + 1e-7, **options)
    assert equal == pytest.approx(close, rel=1e-6)


def test_oxygen_ends_at_zero_and_the_rest_of_the_demand_stays() -> None:
    grid, _ = canal(1000.0, 100.0)
    flow = FlowField.steady(grid, np.zeros(len(grid.tail)))
    step = TransportModel(grid).step(flow, 86_400.0, dispersion_m2_s=1.0, decay_per_s=1e-5, stages=2)
    closed = TransportModel(grid).step(flow, 86_400.0, dispersion_m2_s=1.0, stages=2)
    before = water_quality.OxygenState(50 * grid.volume_m3, 4 * grid.volume_m3)
    after = water_quality.oxygen_step(step, closed, before, kd_per_s=1e-5, ka_per_s=0.0, saturation_mg_l=9.0)
    assert after.oxygen_g.min() == 0
    assert (after.demand_g - after.oxygen_g).sum() == pytest.approx((50 - 4) * grid.volume_m3.sum())


def test_water_relaxes_to_its_equilibrium_temperature() -> None:
    grid, _ = canal(1000.0, 100.0)
    rate = float(water_quality.heat_exchange_per_s(25.0, 2.0))
    flow = FlowField.steady(grid, np.zeros(len(grid.tail)))
    step = TransportModel(grid).step(flow, 3600.0, dispersion_m2_s=1.0, decay_per_s=rate, stages=2)
    heat = 10.0 * grid.volume_m3
    for _ in range(72):
        heat = step.forward(heat, rate * 25.0 * grid.volume_m3)
    exact = 25 - 15 * np.exp(-rate * 72 * 3600)
    np.testing.assert_allclose(heat / grid.volume_m3, exact, rtol=1e-5)


def test_reaeration_never_falls_below_its_floor() -> None:
    velocity, depth = np.meshgrid(np.linspace(-2, 2, 41), np.linspace(0.2, 8, 40))
    ka = water_quality.reaeration_per_day(velocity, depth)
    assert (ka >= 0.6 / depth).all()
    assert water_quality.reaeration_per_day(0.01, 2.0, 30.0) == pytest.approx(0.3 * 1.025**10)
    assert water_quality.decay_per_day(0.3, 20.0) == pytest.approx(0.3)


#  0 ──▶ 1 ──▶ 2, 1 ──▶ 3 ──▶ 2: a loop whose two arms join again
LOOP = (np.array([0, 1, 1, 3]), np.array([1, 2, 3, 2]))


def loop_grid() -> ChannelGrid:
    return divide_reaches(
        4,
        *LOOP,
        length_m=np.array([400.0, 900.0, 500.0, 700.0]),
        area_m2=np.array([20.0, 10.0, 8.0, 9.0]),
        cell_m=100.0,
    )


flows = st.lists(st.floats(-3, 3), min_size=4, max_size=4)


@settings(max_examples=60)
@given(flows, st.sampled_from([1.0, 600.0, 86_400.0, 1e7]), st.sampled_from([0.0, 1e-3, 5.0, 1e3]), st.data())
def test_mass_is_conserved_to_rounding_at_any_flow_and_step(
    reach_flow: list[float], dt_s: float, dispersion: float, data: st.DataObject
) -> None:
    stages: Literal[1, 2] = data.draw(st.sampled_from([1, 2]))
    grid = loop_grid()
    flow = FlowField.steady(grid, np.array(reach_flow)[grid.reach])
    closed = FlowField(flow.face_m3_s, np.zeros(grid.n_cells), np.zeros(grid.n_cells))
    mass = np.random.default_rng(1).uniform(0, 5, grid.n_cells)
    model = TransportModel(grid)
    for field in (flow, closed):
        gain = np.abs(field.inflow_m3_s - field.outflow_m3_s) + flow.inflow_m3_s + flow.outflow_m3_s
        if field is closed and (gain > 0).any() and dt_s * gain.max() >= 0.5 * grid.volume_m3.min():
            continue  # a closed network fills and falls dry
        step = model.step(field, dt_s, dispersion_m2_s=dispersion, stages=stages)
        first = step.stage(0, mass, None, 0.0)
        after = first if stages == 1 else step.stage(1, mass, first, 0.0)
        volumes = step.volumes_m3
        leaves = [
            float((field.outflow_m3_s * part / volume).sum())
            for part, volume in zip([first, after][:stages], volumes, strict=True)
        ]
        weights = [1.0] if stages == 1 else [0.5**0.5, 1 - 0.5**0.5]
        left = dt_s * sum(weight * rate for weight, rate in zip(weights, leaves, strict=True))
        scale = mass.sum() * max(1.0, dt_s * np.abs(flow.face_m3_s).max() / grid.volume_m3.min())
        assert abs(after.sum() + left - mass.sum()) <= 1e-11 * scale
        if stages == 1:
            assert after.min() >= -1e-12 * mass.max()


@settings(max_examples=40)
@given(flows, st.sampled_from([60.0, 3600.0, 1e6]), st.sampled_from([1, 2]))
def test_a_uniform_concentration_stays_uniform(
    reach_flow: list[float], dt_s: float, stages: Literal[1, 2]
) -> None:
    grid = loop_grid()
    flow = FlowField.steady(grid, np.array(reach_flow)[grid.reach])
    step = TransportModel(grid).step(flow, dt_s, dispersion_m2_s=2.0, stages=stages)
    after = step.forward(3 * grid.volume_m3, 3 * flow.inflow_m3_s)
    np.testing.assert_allclose(after / step.volumes_m3[-1], 3, rtol=1e-9)


def test_a_network_that_fills_dilutes_what_is_in_it() -> None:
    grid = loop_grid()
    inflow = np.zeros(grid.n_cells)
    inflow[0] = 1.0
    flow = FlowField(np.zeros(len(grid.tail)), inflow, np.zeros(grid.n_cells))
    step = TransportModel(grid).step(flow, 600.0, dispersion_m2_s=0.0)
    after = step.forward(2 * grid.volume_m3)
    assert after[0] / step.volumes_m3[-1][0] == pytest.approx(
        2 * grid.volume_m3[0] / (grid.volume_m3[0] + 600)
    )


@settings(max_examples=25)
@given(st.lists(flows, min_size=1, max_size=4), st.sampled_from([1, 2]))
def test_the_adjoint_is_the_exact_transpose(reach_flows: list[list[float]], stages: Literal[1, 2]) -> None:
    grid = loop_grid()
    model, rng = TransportModel(grid), np.random.default_rng(2)
    steps = [
        model.step(
            FlowField.steady(grid, np.array(one)[grid.reach]),
            900.0,
            dispersion_m2_s=3.0,
            decay_per_s=1e-5,
            stages=stages,
        )
        for one in reach_flows
    ]
    mass, sources = rng.normal(size=grid.n_cells), rng.normal(size=(len(steps), grid.n_cells))
    begin, weights = mass, rng.normal(size=grid.n_cells)
    for step, source in zip(steps, sources, strict=True):
        mass = step.forward(mass, source)
    sensitivity, by_sources = weights, 0.0
    for step, source in zip(steps[::-1], sources[::-1], strict=True):
        sensitivity, by_source = step.adjoint(sensitivity)
        by_sources += by_source @ source
    assert weights @ mass == pytest.approx(sensitivity @ begin + by_sources, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("stages", [1, 2])
def test_iterated_steps_agree_with_eliminated_ones(stages: Literal[1, 2]) -> None:
    """Elimination took 0.35 s a step at 50,000 nodes, twice as long a node as at 5,000."""
    sizes = {"length_m": np.array([400.0, 900.0, 500.0, 700.0]), "area_m2": np.array([20.0, 10.0, 8.0, 9.0])}
    grid = divide_reaches(4, *LOOP, **sizes, cell_m=2.0)
    assert grid.n_cells > LEAST_CELLS
    flow = FlowField.steady(grid, np.array([3.0, 2.0, 1.0, -1.0])[grid.reach])
    step = TransportModel(grid).step(flow, 2.0, dispersion_m2_s=0.5, decay_per_s=1e-5, stages=stages)
    mass = np.random.default_rng(3).uniform(size=(grid.n_cells, 2))
    iterated, iterated_back = step.forward(mass), step.adjoint(mass)
    for _ in range(FACTORISE_AFTER):
        step.forward(mass)
    eliminated, eliminated_back = step.forward(mass), step.adjoint(mass)
    assert (iterated != eliminated).any(), "the second was iterated, too"
    assert np.abs(iterated - eliminated).sum() < 1e-13 * mass.sum()
    for one, other in zip(iterated_back, eliminated_back, strict=True):
        assert np.abs(one - other).max() < 1e-13 * np.abs(other).max()


@pytest.mark.parametrize(
    ("length_m", "tail", "message"),
    [
        (0.0, 0, "length_m 0"),
        (np.nan, 0, "length_m nan"),
        (9.0, 1, "two different nodes"),
        (9.0, 7, "0 to 1"),
    ],
)
def test_a_wrong_reach_is_a_sentence(length_m: float, tail: int, message: str) -> None:
    with pytest.raises(TwinModelError, match=message):
        divide_reaches(
            2,
            np.array([tail]),
            np.array([1]),
            length_m=np.array([length_m]),
            area_m2=np.array([1.0]),
            cell_m=10.0,
        )


def test_a_cell_that_falls_dry_is_a_sentence() -> None:
    grid = loop_grid()
    outflow = np.zeros(grid.n_cells)
    outflow[0] = 100.0
    flow = FlowField(np.zeros(len(grid.tail)), np.zeros(grid.n_cells), outflow)
    with pytest.raises(TwinModelError, match="cell 0 loses"):
        TransportModel(grid).step(flow, 3600.0, dispersion_m2_s=1.0)
    with pytest.raises(TwinModelError, match="dt_s is 0"):
        TransportModel(grid).step(flow, 0.0, dispersion_m2_s=1.0)
