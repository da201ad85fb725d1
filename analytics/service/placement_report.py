"""Reports where further water-quality sensors make most outfalls of the enrolled river traceable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from analytics.errors import TwinModelError
from analytics.service import river_model
from edge.wire.quantities import QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from analytics.service.river_model import ReadSeries, RiverPart
    from analytics.twin.sensor_placement import SensorCoverage
    from ingest_service.storage.contract.models import Directory, Node

    Numbers = NDArray[np.intp]

FOLLOW_STEPS = 96  # two days of 30 min
MAX_READINGS = 10_000  # of one discharge in these two days
# Bounds of one report: memory and time grow with cells × outfalls, and with places × the square of outfalls.
MAX_CELLS, MAX_NODES, MAX_PLACES, MAX_OUTFALLS = 2500, 2500, 500, 100
WORTHWHILE = 0.02  # what a sensor has to add to the value to be recommended, if it makes no outfall traceable
DETECT_NO_SUBSTANCE = {"water_level", "discharge", "water_velocity", "water_temperature"}


class PlacementCoverage(msgspec.Struct, frozen=True, kw_only=True):
    """What a set of sensors achieves; shares are 0 … 1."""

    value: float
    detected: float
    separated: float
    outfalls_traceable: int


class PlacementRow(PlacementCoverage, frozen=True, kw_only=True):
    """One sensor of the list, what it adds to those before it, and what all up to it achieve."""

    rank: int
    node_id: str
    area_id: str
    en: str
    zh: str
    has_site: bool
    gain: float


class PlacementReport(msgspec.Struct, frozen=True, kw_only=True):
    """Sensors in the order in which to place them.

    Attributes
    ----------
    n_existing : sensors that count in advance
    before : what these achieve alone
    is_discharge_measured : whether the flow is scaled to a measured discharge

    """

    n_outfalls: int
    amount_kg: float
    limit_mg_l: float
    is_discharge_measured: bool
    n_existing: int
    before: PlacementCoverage
    rows: list[PlacementRow]

    @property
    def worthwhile(self) -> int:
        """How many to take: up to the last that adds `WORTHWHILE`, or makes another outfall traceable."""
        before = [self.before.outfalls_traceable, *(one.outfalls_traceable for one in self.rows)]
        pairs = zip(self.rows, before, strict=False)
        worth = [one.rank for one, last in pairs if one.gain >= WORTHWHILE or one.outfalls_traceable > last]
        return max(worth, default=0)


def placement_report(
    directory: Directory,
    read: ReadSeries,
    *,
    n_sensors: int,
    amount_kg: float,
    limit_mg_l: float,
    now_s: float,
    area_ids: Collection[str] | None = None,
    keeps_existing: bool = False,
) -> PlacementReport:
    """Return the placement of up to ``n_sensors`` sensors at river nodes that are not outfalls.

    Parameters
    ----------
    read : returns the READING rows of a series between two Unix times [s], for measured discharges
    amount_kg : released at each outfall, within half an hour [kg]
    limit_mg_l : concentration above the usual that a sensor detects [mg/L]
    now_s : discharges of the two days before it are used, Unix seconds [s]
    area_ids : outfalls and places are those of these areas, on the river that is connected with them; None
        for all
    keeps_existing : sensors that exist count in advance; without, their places compete with the others

    Raises
    ------
    TwinModelError
        If no outfall is enrolled on the river, or the river is too large.

    """
    from analytics.twin.sensor_placement import place_sensors  # noqa: PLC0415 - scipy, on the first use: 25 MB

    part = _part_of(directory, area_ids)
    is_chosen = [area_ids is None or one.area_id in area_ids for one in part.nodes]
    outfalls = _numbers(part, is_chosen, is_outfall=True)
    candidates = _numbers(part, is_chosen, is_outfall=False)
    _check_size(part, len(candidates), len(outfalls))
    existing = _existing(directory, part, candidates) if keeps_existing else candidates[:0]
    history, is_measured = river_model.flow_history(
        directory,
        part,
        read,
        begin_s=now_s - FOLLOW_STEPS * river_model.STEP_S,
        n_steps=FOLLOW_STEPS,
        max_cells=MAX_CELLS,
    )
    placed = place_sensors(
        history,
        outfalls,
        candidates,
        n_sensors=n_sensors,
        amount_g=1000 * amount_kg,
        detection_limit=limit_mg_l,
        release_every=FOLLOW_STEPS,
        follow_steps=FOLLOW_STEPS,
        existing=existing,
    )
    chosen = zip(placed.node.tolist(), placed.gain.tolist(), placed.coverage, strict=True)
    return PlacementReport(
        n_outfalls=len(outfalls),
        amount_kg=amount_kg,
        limit_mg_l=limit_mg_l,
        is_discharge_measured=is_measured,
        n_existing=len(existing),
        before=PlacementCoverage(**placed.before._asdict()),
        rows=[
            _row(number, part.nodes[at], gain, achieved)
            for number, (at, gain, achieved) in enumerate(chosen, start=1)
        ],
    )


def _part_of(directory: Directory, area_ids: Collection[str] | None) -> RiverPart:
    if area_ids is None:
        return river_model.whole_river(directory)
    inside = [one.node_id for one in directory.nodes if one.area_id in area_ids and one.network == "river"]
    return river_model.connected_with(directory, inside)


def _numbers(part: RiverPart, is_chosen: list[bool], *, is_outfall: bool) -> Numbers:
    """Return the numbers of the chosen nodes that are outfalls, or are none."""
    return np.array(
        [
            at
            for at, (node, is_inside) in enumerate(zip(part.nodes, is_chosen, strict=True))
            if is_inside and (node.kind == "outfall") == is_outfall
        ],
        np.intp,
    )


def _check_size(part: RiverPart, n_places: int, n_outfalls: int) -> None:
    """Raise `TwinModelError` where there is no outfall or no place, or more than can be computed."""
    if not n_outfalls or not n_places:
        raise TwinModelError(
            "no outfall with a reach is enrolled there: add outfalls as river nodes, then `towntwin enrol`"
        )
    for number, most, things in (
        (len(part.nodes), MAX_NODES, "nodes of connected rivers"),
        (n_places, MAX_PLACES, "places"),
        (n_outfalls, MAX_OUTFALLS, "outfalls"),
    ):
        if number > most:
            raise TwinModelError(
                f"{number:,} {things}: at most {most:,} are computed; name an area with fewer"
            )


def _existing(directory: Directory, part: RiverPart, candidates: Numbers) -> Numbers:
    """Return those of the candidates whose site measures a quantity that a released substance alters."""
    detecting = {
        one.site_id
        for one in directory.series
        if QUANTITIES[one.quantity].domain == "water" and one.quantity not in DETECT_NO_SUBSTANCE
    }
    return candidates[[part.nodes[at].site_id in detecting for at in candidates.tolist()]]


def _row(rank: int, node: Node, gain: float, achieved: SensorCoverage) -> PlacementRow:
    return PlacementRow(
        rank=rank,
        node_id=node.node_id,
        area_id=node.area_id,
        en=node.en,
        zh=node.zh,
        has_site=node.site_id is not None,
        gain=gain,
        **achieved._asdict(),
    )
