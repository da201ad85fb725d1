"""Reports where further water-quality sensors make most outfalls of the enrolled river traceable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from analytics.errors import AnalyticsError
from analytics.service import river_model

if TYPE_CHECKING:
    from analytics.service.river_model import ReadSeries
    from ingest_service.storage.contract.models import Directory

FOLLOW_STEPS = 96  # two days of 30 min


class PlacementRow(msgspec.Struct, frozen=True, kw_only=True):
    """One sensor of the list, and what it adds to those before it; shares are 0 … 1."""

    rank: int
    node_id: str
    area_id: str
    en: str
    zh: str
    has_site: bool
    gain: float
    value: float
    detected: float
    separated: float
    outfalls_traceable: int


class PlacementReport(msgspec.Struct, frozen=True, kw_only=True):
    """Sensors in the order in which to place them."""

    n_outfalls: int
    amount_kg: float
    limit_mg_l: float
    rows: list[PlacementRow]


def placement_report(
    directory: Directory,
    read: ReadSeries,
    *,
    n_sensors: int,
    amount_kg: float,
    limit_mg_l: float,
    now_s: float,
) -> PlacementReport:
    """Return the placement of up to ``n_sensors`` sensors at river nodes that are not outfalls.

    Parameters
    ----------
    read : returns the READING rows of a series between two Unix times [s], for measured discharges
    amount_kg : released at each outfall, within half an hour [kg]
    limit_mg_l : concentration above the usual that a sensor detects [mg/L]
    now_s : discharges of the two days before it are used, Unix seconds [s]

    Raises
    ------
    AnalyticsError
        If no outfall is enrolled on the river.

    """
    from analytics.twin.sensor_placement import place_sensors  # noqa: PLC0415 - scipy, on the first use: 25 MB

    part = river_model.whole_river(directory)
    outfalls = np.array([at for at, one in enumerate(part.nodes) if one.kind == "outfall"], np.intp)
    nodes = np.array([at for at, one in enumerate(part.nodes) if one.kind != "outfall"], np.intp)
    if not len(outfalls):
        raise AnalyticsError(
            "no outfall with a reach is enrolled: add outfalls as river nodes, then `towntwin enrol`"
        )
    history, _ = river_model.flow_history(
        directory,
        part,
        read,
        begin_s=now_s - FOLLOW_STEPS * river_model.STEP_S,
        n_steps=FOLLOW_STEPS,
    )
    placed = place_sensors(
        history,
        outfalls,
        nodes,
        n_sensors=n_sensors,
        amount_g=1000 * amount_kg,
        detection_limit=limit_mg_l,
        release_every=FOLLOW_STEPS,
        follow_steps=FOLLOW_STEPS,
    )
    rows = []
    for number, at in enumerate(placed.node.tolist()):
        node = part.nodes[at]
        rows.append(
            PlacementRow(
                rank=number + 1,
                node_id=node.node_id,
                area_id=node.area_id,
                en=node.en,
                zh=node.zh,
                has_site=node.site_id is not None,
                gain=float(placed.gain[number]),
                value=float(placed.value[number]),
                detected=float(placed.detected[number]),
                separated=float(placed.separated[number]),
                outfalls_traceable=int(placed.outfalls_traceable[number]),
            )
        )
    return PlacementReport(n_outfalls=len(outfalls), amount_kg=amount_kg, limit_mg_l=limit_mg_l, rows=rows)
