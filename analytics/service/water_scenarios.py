"""Answers "what if?" on an enrolled river: a spill, a sluice, a pump or rain, beside the river as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from analytics.errors import TwinModelError
from analytics.service import river_model
from analytics.service.scenario_statements import reach_names, river_statements

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from analytics.service.river_model import RiverPart
    from analytics.twin.water_response import ModelVariant
    from analytics.twin.water_scenario import SteadyRiver, WaterScenarioRun
    from ingest_service.storage.contract.models import Directory

    Floats = NDArray[np.float64]
    ReadSeries = Callable[[int, float, float], NDArray[np.void]]

N_STEPS, N_BAND_STEPS = 144, 48  # 10 min and 30 min of a day
N_BAND_VARIANTS = 8
BAND = (0.1, 0.9)
MAX_CELLS, MAX_NODES = 2500, 5000
MEASURED_BEFORE_S = 86_400.0  # discharges of the day before the scenario's time count
SHOWN_MG_L = 1e-3  # a node with less at its peak isn't reached
ARRIVAL_SHARE = 0.01  # of a node's own peak: its arrival
ALTERED_SHARE = 1e-3  # of a reach's usual discharge: what is less isn't altered
MAX_SITES, MAX_LINKS = 50, 100  # listed; the most concerned ones


class WaterChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a scenario; which of the values count depends on the kind.

    Attributes
    ----------
    target : node of a spill, a pump or rain; link of a sluice, which lies at its beginning
    start_s, duration_s : from the beginning of the scenario [s]
    amount : spill: mass [kg]; sluice: opening, 0 to 1; pump and rain: discharge, taken out below 0 [m³/s]

    """

    kind: str
    target: str
    start_s: float
    duration_s: float
    amount: float


class ScenarioAnswer(NamedTuple):
    """Result as JSON has it, and the areas of all places that it names."""

    result: dict[str, Any]
    areas: list[str]


def water_scenario(
    directory: Directory, read: ReadSeries, changes: Sequence[WaterChange], *, at_s: float, hours: float
) -> ScenarioAnswer:
    """Compute a scenario on the river as it was at a time.

    Parameters
    ----------
    directory : the network; places outside of it aren't known
    read : returns the READING rows of a series between two Unix times [s]
    at_s : Unix time [s] at which the scenario begins; discharges of the day before count
    hours : computed [h]

    Raises
    ------
    TwinModelError
        If a place is on no river, or more water is taken out than flows there; the message names the place.

    """
    from analytics.twin.water_response import draw_variants  # noqa: PLC0415 - scipy, on the first use: 25 MB
    from analytics.twin.water_scenario import run_water_scenario  # noqa: PLC0415

    part = _part_of(directory, changes)
    river, is_measured = river_model.steady_river(
        directory, part, read, from_s=at_s - MEASURED_BEFORE_S, to_s=at_s, max_cells=MAX_CELLS
    )
    given = _model_changes(part, changes)

    def run(variant: ModelVariant, n_steps: int, **other: Any) -> WaterScenarioRun:
        try:
            return run_water_scenario(
                river,
                **(given | other),
                n_steps=n_steps,
                dt_s=hours * 3600 / n_steps,
                variant=variant,
                dispersion_m2_s=river_model.DISPERSION_M2_S,
                decay_per_s=river_model.DECAY_PER_S,
            )
        except TwinModelError as error:
            raise TwinModelError(_with_names(str(error), part)) from error

    variants = draw_variants(N_BAND_VARIANTS + 1, len(part.links), np.random.default_rng(0))
    changed = run(variants[0], N_STEPS)
    alters_flow = bool(given["sluices"] or given["added"])
    base = run(variants[0], N_STEPS, sluices=[], added=[]) if alters_flow else None
    band = [run(one, N_BAND_STEPS) for one in variants[1:]] if given["spills"] else []
    sites = _sites(part, changed, base, band)
    links = _links(part, river, changed)
    statements = river_statements(
        part, river, changes, changed, links=links, sites=sites, is_measured=is_measured, hours=hours
    )
    named = {one["node_id"] for one in sites} | {
        node for one in part.links for node in (one.from_node, one.to_node) if one.link_id in {
            *(link["link_id"] for link in links), *(change.target for change in changes)
        }
    } | {change.target for change in changes}  # fmt: skip
    result = {
        "statements": [msgspec.to_builtins(one) for one in statements],
        "is_discharge_measured": is_measured,
        "nodes": len(part.nodes),
        "time_s": changed.time_s.tolist(),
        "sites": sites[:MAX_SITES],
        "links": links[:MAX_LINKS],
    }
    return ScenarioAnswer(result, sorted({one.area_id for one in part.nodes if one.node_id in named}))


def _part_of(directory: Directory, changes: Sequence[WaterChange]) -> RiverPart:
    """Return the connected parts of the river that the changes are in."""
    whole = river_model.whole_river(directory)
    begins = {one.link_id: one.from_node for one in whole.links}
    on_river = {one.node_id for one in whole.nodes}
    concerned = set[str]()
    for change in changes:
        node = begins.get(change.target, "") if change.kind == "sluice" else change.target
        if node not in on_river:
            kind = "reach" if change.kind == "sluice" else "node"
            raise TwinModelError(
                f"{change.kind} at {change.target!r}: no such {kind} of the river; see GET /v1/twin/network"
            )
        concerned.add(node)
    part = river_model.connected_with(directory, concerned)
    if len(part.nodes) > MAX_NODES:
        raise TwinModelError(
            f"the river has {len(part.nodes):,} nodes there: {MAX_NODES:,} at most are computed"
        )
    return part


def _model_changes(part: RiverPart, changes: Sequence[WaterChange]) -> dict[str, Any]:
    """Return the changes by the numbers of nodes and reaches."""
    from analytics.twin.water_scenario import AddedWater, SluiceOpening, Spill  # noqa: PLC0415 - see above

    node = {one.node_id: number for number, one in enumerate(part.nodes)}
    reach = {one.link_id: number for number, one in enumerate(part.links)}
    found: dict[str, Any] = {"spills": [], "sluices": [], "added": []}
    for one in changes:
        times = one.start_s, one.start_s + one.duration_s
        if one.kind == "spill":
            found["spills"].append(Spill(node[one.target], one.amount, *times))
        elif one.kind == "sluice":
            found["sluices"].append(SluiceOpening(reach[one.target], one.amount, *times))
        else:
            found["added"].append(AddedWater(node[one.target], one.amount, *times))
    return found


def _with_names(message: str, part: RiverPart) -> str:
    """Return a message of the model with the node's id in place of its number."""
    words = message.split(" ")
    for at, word in enumerate(words[:-1]):
        number = words[at + 1].rstrip(",:")
        if word == "node" and number.isdigit():
            words[at + 1] = words[at + 1].replace(number, part.nodes[int(number)].node_id)
    return " ".join(words)


def _passage(time_s: Floats, values: Floats) -> dict[str, float | None]:
    """Return arrival, peak and its time of the concentrations of a node; None where it isn't reached."""
    at = int(values.argmax())
    if not values[at] >= SHOWN_MG_L:
        return {"arrival_s": None, "peak_s": None, "peak_mg_l": float(values[at])}
    arrival = int(np.argmax(values >= ARRIVAL_SHARE * values[at]))
    return {"arrival_s": float(time_s[arrival]), "peak_s": float(time_s[at]), "peak_mg_l": float(values[at])}


def _sites(
    part: RiverPart,
    changed: WaterScenarioRun,
    base: WaterScenarioRun | None,
    band: Sequence[WaterScenarioRun],
) -> list[dict[str, Any]]:
    """Return the nodes that a spill reaches, with or without the changes, in order of arrival."""
    peak = changed.concentration_g_m3.max(axis=0)
    if base is not None:
        peak = np.maximum(peak, base.concentration_g_m3.max(axis=0))
    found: list[dict[str, Any]] = []
    for number in np.flatnonzero(peak >= SHOWN_MG_L):
        node, values = part.nodes[number], changed.concentration_g_m3[:, number]
        passage = _passage(changed.time_s, values)
        drawn = [_passage(one.time_s, one.concentration_g_m3[:, number]) for one in band]
        found.append(
            {
                "node_id": node.node_id,
                "site_id": node.site_id,
                "en": node.en,
                "zh": node.zh,
                **passage,
                "arrival_band_s": _band("arrival_s", passage, drawn),
                "peak_band_mg_l": _band("peak_mg_l", passage, drawn),
                "base": None if base is None else _passage(base.time_s, base.concentration_g_m3[:, number]),
                "concentration_mg_l": _curve(values),
                "base_concentration_mg_l": None
                if base is None
                else _curve(base.concentration_g_m3[:, number]),
            }
        )
    found.sort(key=lambda one: (one["arrival_s"] is None, one["arrival_s"], -one["peak_mg_l"]))
    return found


def _curve(values: Floats) -> list[float]:
    return [float(f"{one:.4g}") for one in values]


def _band(
    name: str, passage: dict[str, float | None], drawn: Sequence[dict[str, float | None]]
) -> list[float] | None:
    """Return the 10 and 90 % quantiles of the variants, which hold the model as it is."""
    own, values = passage[name], [one[name] for one in drawn]
    known = [one for one in values if one is not None]
    if own is None or not known:
        return None
    low, high = np.quantile(known, BAND)
    return [min(own, float(low)), max(own, float(high))]


def _links(part: RiverPart, river: SteadyRiver, changed: WaterScenarioRun) -> list[dict[str, Any]]:
    """Return the reaches whose discharge the changes alter, those with the largest alteration first."""
    usual = river.discharge_m3_s
    discharge = np.stack([one.discharge_m3_s for one in changed.flows])
    alteration = np.abs(discharge - usual)
    extreme = alteration.argmax(axis=0)
    largest = alteration.max(axis=0)
    is_altered = largest > ALTERED_SHARE * np.maximum(usual, 1e-6)
    dt_s = float(changed.time_s[0])
    order = [one for one in np.argsort(-largest, kind="stable") if is_altered[one]]
    return [
        {
            "link_id": part.links[one].link_id,
            "en": reach_names(part, one)[0],
            "zh": reach_names(part, one)[1],
            "base_m3_s": float(usual[one]),
            "discharge_m3_s": float(discharge[extreme[one], one]),
            "base_m3": float(usual[one] * changed.time_s[-1]),
            "volume_m3": float(discharge[:, one].sum() * dt_s),
        }
        for one in order
    ]
