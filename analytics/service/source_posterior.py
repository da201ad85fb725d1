"""Computes the posterior over possible sources of a water-quality anomaly, from the readings of its river.

The river is modelled by `analytics.service.river_model`; without a measured discharge the amount of a release
is not given. Readings count by how far they exceed what was expected of them, also below the limit of
`DETECTION_SPREADS` spreads (`docs/decisions/0097`). One release is inferred: a site above that limit which is
no part of the event may have been raised by another release, so that its readings are upper bounds of what
this one gave (`docs/decisions/0111`). Velocities and dispersion are uncertain
(`analytics.twin.water_response`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from analytics.service import downstream_arrivals, missing_results, river_model
from analytics.service.missing_results import MissingResult
from analytics.service.source_readings import (
    DETECTION_SPREADS,
    as_loads,
    at_most,
    nearest_sensors,
    sensor_rows,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from analytics.service.river_model import ReadSeries
    from analytics.service.source_readings import SensorRows
    from analytics.twin.source_inference import SourcePosterior
    from analytics.twin.water_response import FlowHistory, ModelVariant
    from ingest_service.storage.contract.models import Anomaly, Directory

    Floats = NDArray[np.float64]

# Measures of what is let out, by mass, in the order in which a site's anomaly is traced.
TRACED_QUANTITIES = ("ammonia_nitrogen", "permanganate_index", "total_nitrogen", "total_phosphorus")
CANDIDATE_KINDS = ("outfall", "source")
AFTER_S = 21_600.0  # readings after the beginning of the anomaly that are used
N_VARIANTS = 12
MAX_CELLS, MAX_CANDIDATES, MAX_STEPS = 3000, 100, 120
LEAST_RESPONSE = 1e-6  # as a share of the strongest response of the same reading
MAX_RESPONSES = 2_000_000  # of readings to releases, for each variant: bounds time and memory
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
    # with the model's flows; where no discharge was measured, it gives the concentrations and no true amount
    modelled_kg: float | None = None


class SuggestedSample(msgspec.Struct, frozen=True, kw_only=True):
    """Where and when one more sample would separate the candidates best; gain 0 … 1."""

    node_id: str
    time_s: float
    gain: float


class SourcePosteriorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Posterior over sources, likeliest first; ``fit`` is the share of the readings that is explained.

    ``n_detects`` and ``n_non_detects`` are the readings above and below the limit of detection.
    ``arrivals`` are those at the sites below that of the anomaly, earliest first; none before the
    detects span an hour.
    """

    quantity: str
    candidates: list[PosteriorCandidate]
    credible_90: list[str]
    n_detects: int
    n_non_detects: int
    sensors: list[str]
    fit: float
    extra_sample: SuggestedSample | None
    arrivals: list[downstream_arrivals.DownstreamArrival] = []
    # why there is none of them; of a trace that an older version computed None, too
    sample_missing: MissingResult | None = None
    arrivals_missing: MissingResult | None = None


def infer_sources(
    directory: Directory,
    anomaly: Anomaly,
    read: ReadSeries,
    *,
    window_s: float = 86_400.0,
    after_s: float = AFTER_S,
    other_sites: Sequence[str] = (),
    is_whole_event: bool = False,
) -> SourcePosteriorAnswer | MissingResult:
    """Return the posterior over the outfalls and inflows of the anomaly's river, or why there is none.

    Parameters
    ----------
    read : returns the READING rows of a series between two Unix times [s]
    window_s : how long before the anomaly a release may have begun [s], at most 60 h less ``after_s``
    after_s : for how long after the beginning of the anomaly readings are used [s]
    other_sites : sites further down or on other branches, whose readings and rivers upstream are used, too
    is_whole_event : whether these sites are all that the event raised, so that what is read above the limit
        elsewhere may be of another release

    """
    found = _traced_series(directory, anomaly)
    if found is None:
        return missing_results.NO_TRACED_QUANTITY
    quantity, sensor_series = found
    part = river_model.upstream_of(directory, [anomaly.site_id, *other_sites])
    sensor_series = {
        site: series for site, series in sensor_series.items() if any(n.site_id == site for n in part.nodes)
    }
    candidates = [at for at, node in enumerate(part.nodes) if node.kind in CANDIDATE_KINDS]
    missing = _missing_part(anomaly.site_id in sensor_series, len(candidates))
    if missing is not None:
        return missing
    begin_s = anomaly.start_s - min(window_s, (MAX_STEPS - 1) * river_model.STEP_S - after_s)
    n_steps = int(np.ceil((anomaly.start_s + after_s - begin_s) / river_model.STEP_S))
    history, has_discharge = river_model.flow_history(
        directory, part, read, begin_s=begin_s, n_steps=n_steps + SAMPLE_STEPS
    )
    if history.grid.n_cells > MAX_CELLS:
        return missing_results.too_large("cells", "计算单元", history.grid.n_cells, MAX_CELLS)
    rows = sensor_rows(part, sensor_series, read, begin_s, n_steps)
    if rows is None:
        return missing_results.NO_SOURCE_READINGS
    discharges = {one.site_id: one.series_id for one in directory.series if one.quantity == "discharge"}
    rows = as_loads(rows, part, history, discharge_series=discharges, read=read, begin_s=begin_s)
    rows = nearest_sensors(rows, part, anomaly.site_id)
    rows = at_most(rows, MAX_RESPONSES // (len(candidates) * n_steps))
    own = {anomaly.site_id, *other_sites} if is_whole_event else set(sensor_series)
    is_own = np.array([part.nodes[at].site_id in own for at in rows.node])
    inference = _infer(np.array(candidates, np.intp), history, rows, is_own, len(part.links))
    if inference is None:
        return missing_results.NOTHING_DETECTED
    answer = _answer(quantity, part, inference, rows, begin_s=begin_s, has_discharge=has_discharge)
    arrivals = downstream_arrivals.forecast_arrivals(
        directory,
        downstream_arrivals.TracedRiver(part, inference.variants, inference.candidates, inference.posterior),
        downstream_arrivals.TracedReadings(
            rows.node[inference.detected],
            rows.step[inference.detected],
            rows.value[inference.detected],
            rows.noise[inference.detected],
        ),
        read,
        site_id=anomaly.site_id,
        begin_s=begin_s,
    )
    name = "arrivals_missing" if isinstance(arrivals, MissingResult) else "arrivals"
    return msgspec.structs.replace(answer, **{name: arrivals})


def _missing_part(is_on_river: bool, n_candidates: int) -> MissingResult | None:  # noqa: FBT001
    """Return why the river upstream of a site has no sources that can be inferred; None where it has."""
    if not is_on_river:
        return missing_results.OFF_RIVER
    if not n_candidates:
        return missing_results.NO_SOURCE_UPSTREAM
    if n_candidates > MAX_CANDIDATES:
        most = MAX_CANDIDATES
        return missing_results.too_large("outfalls and inflows", "排口与来水", n_candidates, most)
    return None


def _traced_series(directory: Directory, anomaly: Anomaly) -> tuple[str, dict[str, int]] | None:
    """Return the quantity that an anomaly is traced by, and its series at all sites; None without one."""
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


class _Inference(NamedTuple):
    """A posterior with what it was inferred from."""

    candidates: NDArray[np.intp]
    history: FlowHistory
    variants: list[ModelVariant]
    detected: NDArray[np.bool_]
    posterior: SourcePosterior


def _infer(
    candidates: NDArray[np.intp],
    history: FlowHistory,
    rows: SensorRows,
    is_own: NDArray[np.bool_],
    n_reaches: int,
) -> _Inference | None:
    from analytics.twin import source_inference, water_response  # noqa: PLC0415 - scipy, on the first use

    is_raised = rows.value >= DETECTION_SPREADS * rows.noise
    detected = is_raised & is_own
    if not detected.any():
        return None
    is_bound = ~is_own & np.isin(rows.node, rows.node[is_raised])
    readings = source_inference.SensorReadings(rows.value, ~is_bound, rows.noise)
    variants = water_response.draw_variants(N_VARIANTS, n_reaches, np.random.default_rng(0))
    response = water_response.response_ensemble(
        history.between(0, history.n_steps - SAMPLE_STEPS),
        variants,
        sensor=rows.node,
        step=rows.step,
        candidates=candidates,
    )
    # What reaches a sensor only by dispersion against the flow would take an absurd amount.
    response[response < LEAST_RESPONSE * response.max(axis=(2, 3), keepdims=True)] = 0.0
    posterior = source_inference.infer_source(response, readings, dt_s=history.dt_s)
    return _Inference(candidates, history, variants, detected, posterior)


def _answer(
    quantity: str,
    part: river_model.RiverPart,
    inference: _Inference,
    rows: SensorRows,
    *,
    begin_s: float,
    has_discharge: bool,
) -> SourcePosteriorAnswer:
    posterior, dt_s = inference.posterior, inference.history.dt_s
    nodes = [part.nodes[at] for at in inference.candidates]
    shown = []
    for at in np.argsort(-posterior.probability, kind="stable")[:SHOWN].tolist():
        early, middle, late = (begin_s + dt_s * posterior.first_step[at]).tolist()
        low, median, high = (posterior.amount_g[at] / 1000).tolist()
        shown.append(
            PosteriorCandidate(
                node_id=nodes[at].node_id,
                en=nodes[at].en,
                zh=nodes[at].zh,
                kind=nodes[at].kind,
                probability=float(posterior.probability[at]),
                released_from_s=early,
                released_s=middle,
                released_to_s=late + dt_s,
                duration_s=float(posterior.duration_s[at, 1]),
                amount_kg=(low, median, high) if has_discharge else None,
                modelled_kg=median,
                group=int(posterior.group[at]),
            )
        )
    sample = _suggest_sample(part, inference, rows, begin_s)
    return SourcePosteriorAnswer(
        quantity=quantity,
        candidates=shown,
        credible_90=[nodes[at].node_id for at in posterior.credible_set()],
        n_detects=int(inference.detected.sum()),
        n_non_detects=int((~inference.detected).sum()),
        sensors=sorted({part.nodes[at].site_id or "" for at in rows.node}),
        fit=posterior.best_fit,
        extra_sample=sample,
        sample_missing=None if sample else missing_results.ONE_SOURCE,
    )


def _suggest_sample(
    part: river_model.RiverPart, inference: _Inference, rows: SensorRows, begin_s: float
) -> SuggestedSample | None:
    from analytics.twin import extra_sample  # noqa: PLC0415 - scipy, on the first use

    sample = extra_sample.best_extra_sample(
        inference.history,
        inference.variants,
        inference.posterior,
        inference.candidates,
        np.arange(len(part.nodes)),
        from_step=int(rows.step.max()) + 1,
        noise=float(np.median(rows.noise)),
    )
    if sample is None:
        return None
    return SuggestedSample(
        node_id=part.nodes[sample.node].node_id,
        time_s=begin_s + inference.history.dt_s * (sample.step + 1),
        gain=sample.gain,
    )
