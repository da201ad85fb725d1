"""Tests the site model's inputs: readings aligned to a time grid, and neighbouring sites."""

from __future__ import annotations

import numpy as np
import pytest

from analytics.core.oxygen_solubility import oxygen_saturation
from analytics.service import network_neighbours, reading_grid, site_scoring
from deploy import demo
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import READING, Area, Directory, NewestReading, Series, Site
from ingest_service.storage.memory.store import MemoryStore

QUANTITIES = ["dissolved_oxygen", "rainfall", "water_temperature"]
FIRST = 1_000_000


def store_of(
    readings: dict[str, list[tuple[float, float, float]]], *, interval_s: float = 300
) -> tuple[MemoryStore, list[Series]]:
    """A store with readings as (ticks after the first, value, expected), of spread 0.5."""
    store = MemoryStore()
    known = store.enrol(
        Directory(
            areas=[Area(area_id="a", level="town", en="A", zh="甲")],
            sites=[
                Site(site_id="s", area_id="a", kind="river_section", en="S", zh="断面", lon=120.0, lat=30.0)
            ],
            series=[Series(site_id="s", quantity=name, interval_s=interval_s) for name in readings],
        )
    )
    for one in known.series:
        rows = np.zeros(len(readings[one.quantity]), READING)
        rows["series_id"], rows["spread"], rows["quality"] = one.series_id, 0.5, 1
        ticks, rows["value"], rows["expected"] = zip(*readings[one.quantity], strict=True)
        rows["time_us"] = np.rint((FIRST + np.array(ticks)) * reading_grid.TICK_S * 1e6)
        store.commit(Batch(fresh=rows))
    return store, known.series


def test_a_tick_holds_its_last_reading_and_a_gap_is_a_gap() -> None:
    store, series = store_of({"water_temperature": [(0.1, 10, 10), (0.6, 11, 10), (3.2, 12, 11)]})
    made = reading_grid.load_grid(store, series, ["s"], QUANTITIES, ticks=(FIRST, FIRST + 5))
    np.testing.assert_array_equal(made.value[:, 0, 2], [11, np.nan, np.nan, 12, np.nan])
    np.testing.assert_array_equal(made.departure[:, 0, 2], [2, np.nan, np.nan, 2, np.nan])
    assert made.good[:, 0, 2].tolist() == [True, False, False, True, False]


def test_what_is_measured_less_often_stays_for_its_interval_and_no_longer() -> None:
    store, series = store_of({"water_temperature": [(-1.5, 9, 9), (3.1, 12, 11)]}, interval_s=900)
    made = reading_grid.load_grid(store, series, ["s"], QUANTITIES, ticks=(FIRST, FIRST + 8))
    np.testing.assert_array_equal(made.value[:, 0, 2], [9, np.nan, np.nan, 12, 12, 12, np.nan, np.nan])


def test_oxygen_departs_as_a_share_of_saturation() -> None:
    """Warmer water that has lost what it can't hold has not departed; its milligrams have."""
    holds_20, holds_25 = oxygen_saturation([20.0, 25.0]).tolist()
    store, series = store_of(
        {
            "dissolved_oxygen": [
                (0.5, 0.9 * holds_25, 0.9 * holds_20),
                (1.5, 0.5 * holds_20, 0.9 * holds_20),
            ],
            "water_temperature": [(0.5, 25.0, 20.0), (1.5, 20.0, 20.0)],
        }
    )
    made = reading_grid.load_grid(store, series, ["s"], QUANTITIES, ticks=(FIRST, FIRST + 2))
    assert made.departure[0, 0, 0] == pytest.approx(0, abs=1e-5)
    assert made.departure[1, 0, 0] == pytest.approx(-0.4 * holds_20 / 0.5, rel=1e-5)
    np.testing.assert_allclose(made.saturation[:, 0], [0.9, 0.5])


def test_oxygen_without_a_temperature_departs_by_its_milligrams() -> None:
    store, series = store_of({"dissolved_oxygen": [(0.5, 7, 8)]})
    made = reading_grid.load_grid(store, series, ["s"], QUANTITIES, ticks=(FIRST, FIRST + 1))
    assert made.departure[0, 0, 0] == -2
    assert np.isnan(made.saturation).all()


def test_rain_is_a_state_and_never_departs() -> None:
    store, series = store_of({"rainfall": [(0.5, 30, 0)]})
    made = reading_grid.load_grid(store, series, ["s"], QUANTITIES, ticks=(FIRST, FIRST + 1))
    assert made.value[0, 0, 1] == 30
    assert np.isnan(made.departure).all()


def test_the_next_sites_upstream_and_how_long_the_water_takes() -> None:
    known = demo.directory()
    above = network_neighbours.upstream_sites(known, {one.site_id for one in known.series})
    (border,) = above["330402-d1-r01"]
    assert border.site_id == "330483-d1-r05"
    assert border.lag_s == pytest.approx(3.6 * 3600, rel=0.05)
    sites = {one.site_id for one in above["330483-d1-r02"]}
    assert {"330483-d1-r01", "330483-d1-r04"} <= sites, "over two confluences"
    (queue,) = above["330483-d1-s04"]
    assert (queue.site_id, queue.lag_s, queue.network) == ("330483-d1-s03", 0.0, "road")
    below = network_neighbours.downstream_sites(above)
    assert "330402-d1-r01" in {one.site_id for one in below["330483-d1-r05"]}


NOW_S = 1_790_000_100.0
TICK = int(NOW_S // reading_grid.TICK_S)


@pytest.mark.parametrize(
    ("behind_s", "heard_s", "interval_s", "until"),
    [
        (250, 1, 300, TICK),  # one device is a tick behind: it is waited for
        (3 * 3600, 600, 300, TICK + 1),  # it is silent
        (3 * 3600, 1, 300, TICK - 35),  # it is catching up
        (3000, 1, 3600, TICK + 1),  # its next reading is not due yet
    ],
)
def test_an_area_is_judged_up_to_where_everything_has_arrived(
    behind_s: float, heard_s: float, interval_s: float, until: int
) -> None:
    store, series = store_of({"ph": [(0, 7, 7)], "turbidity": [(0, 7, 7)], "conductivity": [(0, 7, 7)]})
    (last,) = [one for one in series if one.quantity == "turbidity"]
    directory = store.enrol(
        Directory(series=[Series(site_id="s", quantity="turbidity", interval_s=interval_s)])
    )
    latest = [
        NewestReading(
            series_id=one.series_id,
            time_s=NOW_S - (behind_s if one.series_id == last.series_id else 0),
            received_s=NOW_S - (heard_s if one.series_id == last.series_id else 1),
            value=7,
            quality=1,
            rules=0,
            expected=7,
            spread=1,
        )
        for one in series
    ]
    assert site_scoring.complete_until(directory, latest, NOW_S, 5.0) == {"a": until}
