"""Computes the posterior over possible sources of a water-quality anomaly, from the readings of its river.

The river model is as good as what is enrolled: lengths and usual velocities of the reaches, the river's
direction, and a measured discharge where there is one. At a node, water leaves by its reaches in equal parts;
sources and outfalls let in `SOURCE_M3_S` and `OUTFALL_M3_S` by assumption, scaled to the measured discharges.
The cross-section of a reach is its discharge divided by its usual velocity. Without a measured discharge the
amount of a release is not given. Flow is taken as steady: where a river reverses, the answer holds for as long
as the usual direction does.

Readings count by how far they exceed what was expected of them; below `DETECTION_SPREADS` spreads they are
non-detects. The model's velocities and dispersion are uncertain (`analytics.twin.water_response`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from analytics.errors import TwinModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from analytics.twin.water_response import FlowHistory
    from ingest_service.storage.contract.models import Anomaly, Directory, Link, Node

    Floats = NDArray[np.float64]
    ReadSeries = Callable[[int, float, float], NDArray[np.void]]

# Measures of what is let out, by mass, in the order in which a site's anomaly is traced.
TRACED_QUANTITIES = ("ammonia_nitrogen", "permanganate_index", "total_nitrogen", "total_phosphorus")
CANDIDATE_KINDS = ("outfall", "source")
SOURCE_M3_S, OUTFALL_M3_S = 2.0, 0.1
DISPERSION_M2_S = 5.0  # slow canals: 1 to 10 [m²/s]; its uncertainty is part of the model
DECAY_PER_S = 0.1 / 86_400  # nitrogen and oxygen demand in canals: 0.05 to 0.2 a day
STEP_S, CELL_M = 1800.0, 200.0
AFTER_S = 21_600.0  # readings after the beginning of the anomaly that are used
DETECTION_SPREADS, LEAST_NOISE_SHARE = 3.0, 0.05
LEAST_NOISE = 0.02  # [mg/L]
N_VARIANTS = 12
MAX_CELLS, MAX_SENSORS, MAX_STEPS = 3000, 12, 120
SHOWN = 20
SAMPLE_STEPS = 24  # after the readings, within which one more sample is suggested


class PosteriorCandidate(msgspec.Struct, frozen=True, kw_only=True):
    """A possible source; intervals hold 90 % of its probability. ``group`` 0 is that of the likeliest."""

    node_id: str
    en: str
    zh: str
    kind: str
    probability: float
    released_from_s: float
    released_s: float
    released_to_s: float
    duration_s: float
    amount_kg: tuple[float, float, float] | None
    group: int


class SuggestedSample(msgspec.Struct, frozen=True, kw_only=True):
    """Where and when one more sample would separate the candidates best; gain 0 … 1."""

    node_id: str
    time_s: float
    gain: float


class SourcePosteriorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Posterior over sources, likeliest first; ``fit`` is the share of the readings that is explained."""

    quantity: str
    candidates: list[PosteriorCandidate]
    credible_90: list[str]
    n_detects: int
    n_non_detects: int
    sensors: list[str]
    fit: float
    extra_sample: SuggestedSample | None


class _RiverPart(NamedTuple):
    """The nodes and reaches from which water comes to the site of an anomaly."""

    nodes: list[Node]
    links: list[Link]


def infer_sources(
    directory: Directory, anomaly: Anomaly, read: ReadSeries, *, window_s: float = 86_400.0
) -> SourcePosteriorAnswer | None:
    """Return the posterior over the outfalls and inflows of the anomaly's river; None if it can't be made.

    Parameters
    ----------
    read : returns the READING rows of a series between two Unix times [s]
    window_s : how long before the anomaly a release may have begun [s], at most 54 h

    """
    found = _traced_series(directory, anomaly)
    if found is None:
        return None
    quantity, sensor_series = found
    part = _connected(directory, anomaly.site_id)
    sensor_series = {
        site: series for site, series in sensor_series.items() if any(n.site_id == site for n in part.nodes)
    }
    candidates = [at for at, node in enumerate(part.nodes) if node.kind in CANDIDATE_KINDS]
    if anomaly.site_id not in sensor_series or not candidates or len(sensor_series) > MAX_SENSORS:
        return None
    begin_s = anomaly.start_s - min(window_s, (MAX_STEPS - 1) * STEP_S - AFTER_S)
    n_steps = int(np.ceil((anomaly.start_s + AFTER_S - begin_s) / STEP_S))
    history, has_discharge = _flow_history(directory, part, read, begin_s, n_steps + SAMPLE_STEPS)
    if history.grid.n_cells > MAX_CELLS:
        return None
    rows = _sensor_rows(part, sensor_series, read, begin_s, n_steps)
    if rows is None:
        return None
    return _answer(quantity, part, np.array(candidates, np.intp), history, has_discharge, rows, begin_s)


class _SensorRows(NamedTuple):
    """Observations: node and step of each, what was read above the expected value, and its noise."""

    node: NDArray[np.intp]
    step: NDArray[np.intp]
    value: Floats
    noise: Floats


def _traced_series(directory: Directory, anomaly: Anomaly) -> tuple[str, dict[str, int]] | None:
    """Return the quantity that an anomaly is traced by, and its series at all sites; None if there is none."""
    here = {
        one.quantity: one.series_id
        for one in directory.series
        if one.site_id == anomaly.site_id
        and (anomaly.series_id is None or one.series_id == anomaly.series_id)
    }
    for quantity in TRACED_QUANTITIES:
        if quantity in here:
            return quantity, {
                one.site_id: one.series_id for one in directory.series if one.quantity == quantity
            }
    return None


def _connected(directory: Directory, site_id: str) -> _RiverPart:
    """Return the nodes and reaches upstream of a site, the site's node included."""
    links = [one for one in directory.links if one.network == "river"]
    nodes = {one.node_id: one for one in directory.nodes if one.network == "river"}
    begin = next((one.node_id for one in nodes.values() if one.site_id == site_id), None)
    if begin is None:
        return _RiverPart([], [])
    reached, waiting = {begin}, [begin]
    into: dict[str, list[str]] = {}
    for link in links:
        into.setdefault(link.to_node, []).append(link.from_node)
    while waiting:
        for other in into.get(waiting.pop(), []):
            if other not in reached:
                reached.add(other)
                waiting.append(other)
    part = [one for one in links if one.from_node in reached and one.to_node in reached]
    used = {name for one in part for name in (one.from_node, one.to_node)}
    return _RiverPart([nodes[name] for name in sorted(used)], part)


def _flow_history(
    directory: Directory, part: _RiverPart, read: ReadSeries, begin_s: float, n_steps: int
) -> tuple[FlowHistory, bool]:
    """Return the steady flow of a part of the river, and whether a discharge was measured in it."""
    from scipy.sparse import csr_array, eye_array  # noqa: PLC0415 - imported on the first trace: 25 MB
    from scipy.sparse.linalg import spsolve  # noqa: PLC0415

    from analytics.twin.channel_grid import divide_reaches  # noqa: PLC0415
    from analytics.twin.water_response import FlowHistory  # noqa: PLC0415

    at = {node.node_id: number for number, node in enumerate(part.nodes)}
    n = len(part.nodes)
    tail = np.array([at[one.from_node] for one in part.links], np.intp)
    head = np.array([at[one.to_node] for one in part.links], np.intp)
    share = 1 / np.bincount(tail, minlength=n).clip(1)[tail]
    inflow = np.array(
        [
            OUTFALL_M3_S
            if node.kind == "outfall"
            else (SOURCE_M3_S if node.kind == "source" else 1e-3)
            for node in part.nodes
        ]
    )
    # Water that a circle of reaches would carry round and round is damped: a river has no such circles.
    turned = csr_array((share * (1 - 1e-9), (head, tail)), (n, n))
    through = np.atleast_1d(spsolve((eye_array(n) - turned).tocsc(), inflow))
    ratios = []
    series = {one.site_id: one.series_id for one in directory.series if one.quantity == "discharge"}
    for number, node in enumerate(part.nodes):
        if node.site_id in series:
            measured = read(series[node.site_id], begin_s, begin_s + n_steps * STEP_S)["value"]
            measured = measured[np.isfinite(measured)]
            if len(measured) and np.median(measured) > 0:
                ratios.append(float(np.median(measured)) / float(through[number]))
    discharge = share * through[tail] * (float(np.median(ratios)) if ratios else 1.0)
    speed = np.array([one.speed_m_s for one in part.links])
    grid = divide_reaches(
        n,
        tail,
        head,
        length_m=np.array([one.length_m for one in part.links]),
        area_m2=discharge / speed,
        cell_m=CELL_M,
    )
    face = np.broadcast_to(discharge[grid.reach], (n_steps, len(grid.reach)))
    return FlowHistory(grid, STEP_S, face, DISPERSION_M2_S, DECAY_PER_S), bool(ratios)


def _sensor_rows(
    part: _RiverPart, sensor_series: dict[str, int], read: ReadSeries, begin_s: float, n_steps: int
) -> _SensorRows | None:
    """Return the last reading of every step at every sensor, above its expected value; None if there is none."""
    parts = []
    for number, node in enumerate(part.nodes):
        if node.site_id not in sensor_series:
            continue
        rows = read(sensor_series[node.site_id], begin_s, begin_s + n_steps * STEP_S)
        rows = rows[np.isfinite(rows["value"]) & np.isfinite(rows["expected"])]
        if not len(rows):
            continue
        step = ((rows["time_us"] / 1e6 - begin_s) // STEP_S).astype(np.intp)
        last = np.flatnonzero(np.append(np.diff(step) > 0, True))
        excess = (rows["value"] - rows["expected"])[last]
        noise = np.maximum(rows["spread"][last], LEAST_NOISE)
        noise = np.hypot(noise, LEAST_NOISE_SHARE * np.maximum(excess, 0))
        parts.append(_SensorRows(np.full(len(last), number), step[last], excess, noise))
    if not parts:
        return None
    return _SensorRows(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _answer(
    quantity: str,
    part: _RiverPart,
    candidates: NDArray[np.intp],
    history: FlowHistory,
    has_discharge: bool,  # noqa: FBT001 - of one caller
    rows: _SensorRows,
    begin_s: float,
) -> SourcePosteriorAnswer | None:
    from analytics.twin import extra_sample, source_inference, water_response  # noqa: PLC0415

    limit = DETECTION_SPREADS * rows.noise
    detected = rows.value >= limit
    if not detected.any():
        return None
    readings = source_inference.SensorReadings(np.where(detected, rows.value, limit), detected, rows.noise)
    variants = water_response.draw_variants(N_VARIANTS, len(part.links), np.random.default_rng(0))
    try:
        response = water_response.response_ensemble(
            history.between(0, history.n_steps - SAMPLE_STEPS),
            variants,
            sensor=rows.node,
            step=rows.step,
            candidates=candidates,
        )
        posterior = source_inference.infer_source(response, readings, dt_s=history.dt_s)
    except TwinModelError:
        return None
    nodes = [part.nodes[at] for at in candidates]
    sample = extra_sample.best_extra_sample(
        history,
        variants,
        posterior,
        candidates,
        np.arange(len(part.nodes)),
        from_step=int(rows.step.max()) + 1,
        noise=float(np.median(rows.noise)),
    )
    order = np.argsort(-posterior.probability, kind="stable")
    shown = []
    for at in order[:SHOWN]:
        early, middle, late = (begin_s + history.dt_s * posterior.first_step[at]).tolist()
        amount = posterior.amount_g[at] / 1000
        shown.append(
            PosteriorCandidate(
                node_id=nodes[at].node_id,
                en=nodes[at].en,
                zh=nodes[at].zh,
                kind=nodes[at].kind,
                probability=float(posterior.probability[at]),
                released_from_s=early,
                released_s=middle,
                released_to_s=late + history.dt_s,
                duration_s=float(posterior.duration_s[at, 1]),
                amount_kg=(float(amount[0]), float(amount[1]), float(amount[2])) if has_discharge else None,
                group=int(posterior.group[at]),
            )
        )
    return SourcePosteriorAnswer(
        quantity=quantity,
        candidates=shown,
        credible_90=[nodes[at].node_id for at in posterior.credible_set()],
        n_detects=int(detected.sum()),
        n_non_detects=int((~detected).sum()),
        sensors=sorted({part.nodes[at].site_id or "" for at in rows.node}),
        fit=posterior.best_fit,
        extra_sample=None
        if sample is None
        else SuggestedSample(
            node_id=part.nodes[sample.node].node_id,
            time_s=begin_s + history.dt_s * (sample.step + 1),
            gain=sample.gain,
        ),
    )
