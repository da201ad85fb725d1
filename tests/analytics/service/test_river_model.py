"""Tests that sections and roughness of reaches are used where the fall and the discharge are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from analytics.service.river_model import steady_river, whole_river
from analytics.twin.normal_flow import normal_flow
from ingest_service.storage.contract.models import READING, Area, Directory, Link, Node, Series, Site

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAMES: Any = {"en": "x", "zh": "某"}
PLACE: Any = {"lon": 120.0, "lat": 30.0, **NAMES}
DISCHARGE = 6.0
SECTION: Any = {"section_shape": "rectangular", "width_m": 8.0, "depth_m": 2.5, "manning_n": 0.03}


def river(**section: Any) -> Directory:
    """A source and two reaches of 1 km at 0.25 m/s that fall by 1 m each; the second has no section."""
    nodes = [("source", "source", 2.0), ("a", "section", 1.0), ("b", "mouth", 0.0)]
    links = [("source", "a", section), ("a", "b", {})]
    return Directory(
        areas=[Area(area_id="t", level="town", **NAMES)],
        sites=[Site(site_id="a", area_id="t", kind="river_section", **PLACE)],
        series=[Series(series_id=1, site_id="a", quantity="discharge")],
        nodes=[
            Node(
                node_id=name,
                network="river",
                area_id="t",
                kind=kind,
                elevation_m=elevation_m,
                site_id="a" if name == "a" else None,
                **PLACE,
            )
            for name, kind, elevation_m in nodes
        ],
        links=[
            Link(
                link_id=f"{begin}:{end}",
                network="river",
                from_node=begin,
                to_node=end,
                length_m=1000.0,
                speed_m_s=0.25,
                **NAMES,
                **given,
            )
            for begin, end, given in links
        ],
    )


def speeds(directory: Directory, discharge: float | None) -> list[float]:
    """Return the velocity of the water in each reach, in the order of the links [m/s]."""

    def read(_series: int, from_s: float, _to_s: float) -> NDArray[np.void]:
        rows = np.zeros(0 if discharge is None else 5, READING)
        rows["time_us"], rows["value"] = from_s * 1e6, discharge or 0.0
        return rows

    found, is_measured = steady_river(directory, whole_river(directory), read, from_s=0.0, to_s=86_400.0)
    assert is_measured == (discharge is not None)
    first = [int(np.flatnonzero(found.grid.reach == number)[0]) for number in range(len(directory.links))]
    return [float(found.discharge_m3_s[at] / found.grid.area_m2[cell]) for at, cell in enumerate(first)]


def test_a_reach_with_section_roughness_and_fall_has_the_velocity_of_its_measured_discharge() -> None:
    one = (np.array([value]) for value in (DISCHARGE, 8.0, 0.0, 0.03, 0.001))
    expected = float(normal_flow(*one).velocity_m_s[0])
    assert expected == pytest.approx(0.849, abs=1e-3)  # A = 7.06 m², R = 0.723 m
    assert speeds(river(**SECTION), DISCHARGE) == pytest.approx([expected, 0.25], rel=1e-3)


@pytest.mark.parametrize(
    ("section", "discharge"),
    [(SECTION, None), (SECTION, 60.0), (SECTION | {"manning_n": None}, DISCHARGE), ({}, DISCHARGE)],
)
def test_without_a_measured_discharge_or_beyond_the_banks_the_usual_velocity_counts(
    section: dict[str, Any], discharge: float | None
) -> None:
    assert speeds(river(**section), discharge) == pytest.approx([0.25, 0.25], rel=1e-3)
