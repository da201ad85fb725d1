"""What-if scenarios of a river: sluices, pumps and spills conserve water and mass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from analytics.errors import TwinModelError
from analytics.twin.channel_grid import divide_reaches
from analytics.twin.water_response import ModelVariant
from analytics.twin.water_scenario import (
    AddedWater,
    SluiceOpening,
    Spill,
    SteadyRiver,
    WaterScenarioRun,
    changed_flow,
    run_water_scenario,
)

# 0 → 1 → {2, 3} → 4 → 5: two ways from node 1; reaches in this order.
TAIL, HEAD = np.array([0, 1, 1, 2, 3, 4]), np.array([1, 2, 3, 4, 4, 5])
SHARE = np.array([1.0, 0.5, 0.5, 1.0, 1.0, 1.0])
INFLOW = np.array([4.0, 0.0, 0.0, 0.0, 0.0, 0.0])
INTO_2, LAST = 1, 5
DAY_S = 86_400.0


@pytest.fixture(scope="module")
def river() -> SteadyRiver:
    area_m2 = np.array([8.0, 4.0, 4.0, 4.0, 4.0, 8.0])
    grid = divide_reaches(6, TAIL, HEAD, length_m=np.full(6, 800.0), area_m2=area_m2, cell_m=200.0)
    return SteadyRiver(grid, TAIL, HEAD, SHARE, INFLOW)


def run(river: SteadyRiver, **changes: Any) -> WaterScenarioRun:
    given: dict[str, Any] = {"spills": [], "sluices": [], "added": []} | changes
    return run_water_scenario(
        river,
        **given,
        n_steps=144,
        dt_s=600.0,
        variant=ModelVariant(np.ones(6), 1.0),
        dispersion_m2_s=5.0,
        decay_per_s=0.0,
    )


def left_at_mouth_g(found: WaterScenarioRun) -> float:
    flow = np.array([one.outflow_m3_s[5] for one in found.flows])
    return float((flow * found.concentration_g_m3[:, 5]).sum() * 600.0)


def test_a_closed_sluice_sends_the_water_the_other_way(river: SteadyRiver) -> None:
    flow = changed_flow(river, [SluiceOpening(INTO_2, 0.0, 0, DAY_S)], [])
    np.testing.assert_allclose(flow.discharge_m3_s, [4, 0, 4, 0, 4, 4], atol=1e-7)
    assert not flow.held_back_m3_s.any()
    half = changed_flow(river, [SluiceOpening(INTO_2, 0.5, 0, DAY_S)], [])
    np.testing.assert_allclose(half.discharge_m3_s, [4, 1, 3, 1, 3, 4], atol=1e-7)


def test_a_closed_sluice_without_another_way_holds_the_water_and_the_spill_back(river: SteadyRiver) -> None:
    closed = [SluiceOpening(LAST, 0.0, 0, DAY_S)]
    flow = changed_flow(river, closed, [])
    assert flow.held_back_m3_s[4] == pytest.approx(4)
    assert flow.discharge_m3_s[LAST] == 0
    spill = [Spill(0, 10.0, 0, 3600)]
    free, held = run(river, spills=spill), run(river, spills=spill, sluices=closed)
    assert left_at_mouth_g(free) == pytest.approx(10_000, rel=0.01)
    assert held.concentration_g_m3[:, 5].max() == 0
    assert held.held_back_kg[4] == pytest.approx(10, rel=0.01)  # nothing is lost
    # Upstream of the sluice nothing is altered.
    np.testing.assert_allclose(
        held.concentration_g_m3[:, 1], free.concentration_g_m3[:, 1], rtol=1e-6, atol=1e-9
    )


def test_a_pump_dilutes_the_spill_and_one_that_takes_too_much_is_refused(river: SteadyRiver) -> None:
    spill = [Spill(0, 10.0, 0, 3600)]
    pumped = run(river, spills=spill, added=[AddedWater(1, 4.0, 0, DAY_S)])
    assert pumped.flows[0].discharge_m3_s[LAST] == pytest.approx(8)
    assert (
        pumped.concentration_g_m3[:, 5].max() < 0.8 * run(river, spills=spill).concentration_g_m3[:, 5].max()
    )
    assert left_at_mouth_g(pumped) == pytest.approx(10_000, rel=0.01)
    with pytest.raises(TwinModelError, match="node 2, 3 m³/s are taken out, and only 2 m³/s flow there"):
        run(river, added=[AddedWater(2, -3.0, 0, DAY_S)])


def test_a_change_holds_for_its_time_and_a_late_spill_arrives_late(river: SteadyRiver) -> None:
    found = run(
        river,
        spills=[Spill(0, 10.0, 43_200, 43_200)],
        sluices=[SluiceOpening(INTO_2, 0.0, 3600, 7200)],
    )
    is_closed = [one.discharge_m3_s[INTO_2] < 1e-9 for one in found.flows]
    assert [number for number, one in enumerate(is_closed) if one] == list(range(6, 12))
    assert found.concentration_g_m3[:72].max() == 0
    assert left_at_mouth_g(found) == pytest.approx(10_000, rel=0.01)
