"""Tests responses by parcels: exact delays, mixing, reversal, tanks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from analytics.errors import TwinModelError
from analytics.twin.compiled_plug_flow import PlugFlowHistory, plug_flow_response

if TYPE_CHECKING:
    from numpy.typing import NDArray

DT_S, N_STEPS = 60.0, 40


def history(flow_m3_s: object, *, storage_m3: float = 0.0) -> PlugFlowHistory:
    """Return 0 ─▶ 2 ◀─ 1 and 2 ─▶ 3, of 60, 120 and 180 m³; node 2 may hold water."""
    flow = np.broadcast_to(np.asarray(flow_m3_s, np.float64), (N_STEPS, 3)).copy()
    storage = np.zeros((N_STEPS, 4))
    storage[:, 2] = storage_m3
    return PlugFlowHistory(
        np.array([0, 1, 2]), np.array([2, 2, 3]), np.array([60.0, 120.0, 180.0]), DT_S, flow, storage
    )


def respond(model: PlugFlowHistory, sensor: int, step: int, factor: float = 1.0) -> NDArray[np.float32]:
    found = plug_flow_response(
        model,
        np.full(3, factor),
        sensor=np.array([sensor]),
        step=np.array([step]),
        candidates=np.arange(4),
        steps_per_release=1,
    )
    row: NDArray[np.float32] = found[0]
    return row


def test_a_release_arrives_after_the_volume_of_its_way_has_passed_and_is_diluted() -> None:
    found = respond(history([1.0, 1.0, 2.0]), 3, 30)
    # 60 s in the first reach, 120 s in the second, 90 s below the confluence, where both mix.
    assert np.flatnonzero(found[0]).tolist() == [27, 28]
    assert np.flatnonzero(found[1]).tolist() == [26, 27]
    np.testing.assert_allclose(found[:3].sum(axis=1), 0.5, rtol=1e-6)
    np.testing.assert_allclose(found[0, 27:29], 0.25, rtol=1e-6)
    assert np.flatnonzero(respond(history([1.0, 1.0, 2.0]), 3, 30, factor=2.0)[1]).tolist() == [28, 29]


def test_water_returns_to_the_end_where_it_entered_when_the_flow_turns() -> None:
    flow = np.zeros((N_STEPS, 3))
    flow[:10], flow[10:] = [1.0, 0.0, 1.0], [-1.0, 0.0, -1.0]
    found = respond(history(flow), 2, 11)
    # In two steps half of the reach below has come back: its water left node 2 four steps before.
    assert found[3].sum() == 0
    assert np.flatnonzero(found[2]).tolist() == [7, 11]
    assert np.flatnonzero(found[0]).tolist() == [6]
    assert np.flatnonzero(respond(history(flow), 2, 12)[3]).tolist() == [9]  # and now what node 3 had


def test_a_tank_keeps_what_it_mixed() -> None:
    found = respond(history([1.0, 0.0, 1.0], storage_m3=540.0), 2, 30)
    later = found[0][found[0] > 0]
    np.testing.assert_allclose(later[1:] / later[:-1], 1 / 0.9, rtol=1e-4)
    assert later[-1] == pytest.approx(0.1)


def test_what_cannot_be_computed_is_a_sentence() -> None:
    with pytest.raises(TwinModelError, match="observation 0 is of step 99"):
        respond(history([1.0, 1.0, 2.0]), 3, 99)
    with pytest.raises(TwinModelError, match="cannot be divided into releases of 7"):
        plug_flow_response(
            history([1.0, 1.0, 2.0]),
            np.ones(3),
            sensor=np.array([3]),
            step=np.array([3]),
            candidates=np.arange(4),
            steps_per_release=7,
        )
