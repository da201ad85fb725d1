"""Tests that plots have a bounded number of points, all of stored readings, for any time range."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gateway.formats.downsampling import downsample
from tests.support.api_requests import WIDE_TIME_RANGE, ClientFactory, all_items, get_response
from tests.support.store_samples import START_US, STEP_US, readings

if TYPE_CHECKING:
    from numpy.typing import NDArray


def test_a_plot_has_so_many_points_and_each_is_a_stored_reading(client: ClientFactory) -> None:
    whole = {
        one["measured"]: one
        for one in all_items(client, "/v1/series/1/readings", limit=10_000, **WIDE_TIME_RANGE)
    }
    values = [one["value"] for one in whole.values()]
    for method in ("lttb", "minmax"):
        (plot,) = get_response(
            client, "/v1/plot", series=1, points=50, method=method, **WIDE_TIME_RANGE
        ).json()
        assert 40 < len(plot["points"]) <= 50, "although most of the stretch is empty"
        assert plot["readings"] == len(whole)
        assert all(whole[one["measured"]] == one for one in plot["points"])
    begin = min(whole)
    tight: dict[str, Any] = {"from": begin, "to": datetime.fromisoformat(max(whole)).isoformat()}
    (plot,) = get_response(client, "/v1/plot", series=1, points=50, method="minmax", **tight).json()
    shown = [one["value"] for one in plot["points"]]
    assert (min(shown), max(shown)) == (min(values[:-1]), max(values[:-1]))
    assert plot["points"][0] == whole[begin]
    assert len(plot["points"]) > 40


@pytest.mark.parametrize("block_rows", [1, 7, 1000])
def test_thinning_is_the_same_however_the_readings_come(block_rows: int) -> None:
    block = readings(1, range(1000))
    block["value"] = np.random.default_rng(1).normal(size=1000)
    until_us = START_US + 1000 * STEP_US

    def blocks() -> list[NDArray[np.void]]:
        return [block[at : at + block_rows] for at in range(0, 1000, block_rows)]

    found, n = downsample(blocks(), START_US, until_us, points=42, method="minmax")
    assert n == 1000
    slices = [block[50 * at : 50 * at + 50] for at in range(20)]
    wanted = {0, 999} | {
        50 * at + int(which(part["value"]))
        for at, part in enumerate(slices)
        for which in (np.argmin, np.argmax)
    }
    assert found["time_us"].tolist() == [START_US + at * STEP_US for at in sorted(wanted)]
