"""Forecasts when a traced release arrives at the sites downstream, and at which concentration.

Releases are drawn from the posterior over the sources (place, time, duration and model variant together) and
carried down the river. Velocities of the reaches that the readings are of are those of the drawn variant.
Those below are drawn from the prior: at one sensor, a fast river and a late release look the same, so that
the variants of the posterior would give bands that are too narrow. Each amount is scaled
to the greatest concentration that was detected: amounts of the posterior are not calibrated.

The arrival is the leading edge: the first time with `ARRIVAL_SHARE` of the site's own peak (as of dye clouds:
H. E. Jobson, USGS Water-Resources Investigations Report 96-4013, 1996, has the trailing edge at 10 %).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from analytics.service import missing_results, river_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.service.missing_results import MissingResult
    from analytics.service.river_model import ReadSeries, RiverPart
    from analytics.twin.source_inference import SourcePosterior
    from analytics.twin.water_response import FlowHistory, ModelVariant
    from ingest_service.storage.contract.models import Directory

    Floats = NDArray[np.float64]

N_SAMPLES = 24
AHEAD_STEPS = 72  # after the last reading: 36 h
MAX_CELLS = 1500
ARRIVAL_SHARE = 0.1
LEAST_PEAK_MG_L = 0.02  # as the least noise of readings: a site with less is not reached
LEAST_PROBABILITY = 0.5
# Of the readings, from the first to the last: a single one may be an air bubble, and while a concentration
# begins to rise, any amount fits: the peak was forecast up to 18 times too high.
LEAST_SPAN_STEPS = 2
BAND = (0.1, 0.5, 0.9)
AMOUNT_FACTORS = (0.1, 10.0)  # limits of the amount fitted again


class DownstreamArrival(msgspec.Struct, frozen=True, kw_only=True):
    """Arrival of a release at a site: medians, and bands from 10 to 90 % of the drawn releases that reach it.

    Attributes
    ----------
    probability : share of the drawn releases that reach it in the time computed
    arrival_s, peak_s : Unix times [s] of the leading edge and of the greatest concentration

    """

    node_id: str
    site_id: str
    en: str
    zh: str
    probability: float
    arrival_s: float
    arrival_band_s: tuple[float, float]
    peak_s: float
    peak_mg_l: float
    peak_band_mg_l: tuple[float, float]


class TracedReadings(NamedTuple):
    """Detected concentrations above the expected value: index of the node, step, value and noise [mg/L]."""

    node: NDArray[np.intp]
    step: NDArray[np.intp]
    value: Floats
    noise: Floats


class TracedRiver(NamedTuple):
    """A posterior with the part of the river, the model variants and the candidates that it is of."""

    part: RiverPart
    variants: list[ModelVariant]
    candidates: NDArray[np.intp]
    posterior: SourcePosterior


class _Release(NamedTuple):
    """A drawn release: variant, cell, first and last step (without), rate [g/s]."""

    variant: int
    cell: int
    first: int
    last: int
    rate_g_s: float


def forecast_arrivals(
    directory: Directory,
    traced: TracedRiver,
    readings: TracedReadings,
    read: ReadSeries,
    *,
    site_id: str,
    begin_s: float,
) -> list[DownstreamArrival] | MissingResult:
    """Return the arrivals at the sites below a site, those with the earliest arrival first; or why none.

    There are none before the readings span `LEAST_SPAN_STEPS`.

    Parameters
    ----------
    directory : the network
    traced : the posterior
    readings : that the posterior is of, with nodes of its part of the river
    read : returns the READING rows of a series between two Unix times [s]
    site_id : the sites below this one count
    begin_s : Unix time at which step 0 of the posterior begins [s]

    """
    from analytics.twin.water_response import draw_variants  # noqa: PLC0415 - scipy, on the first use: 25 MB

    below = river_model.downstream_sites(directory, site_id)
    if not below:
        return missing_results.NOTHING_DOWNSTREAM
    if np.ptp(readings.step) < LEAST_SPAN_STEPS:
        return missing_results.FEW_DETECTIONS
    part = river_model.upstream_of(directory, [one.site_id for one in below if one.site_id])
    at = {one.node_id: number for number, one in enumerate(part.nodes)}
    if not {one.node_id for one in traced.part.nodes} <= at.keys():
        return missing_results.OTHER_RIVER
    n_steps = int(readings.step.max()) + 1 + AHEAD_STEPS
    history, _ = river_model.flow_history(
        directory, part, read, begin_s=begin_s, n_steps=n_steps, max_cells=MAX_CELLS
    )
    node = np.array([at[traced.part.nodes[one].node_id] for one in readings.node], np.intp)
    moved = readings._replace(node=node)
    rng = np.random.default_rng(0)
    releases = _draw(traced, at, rng)
    priors = rng.permutation(np.array(draw_variants(N_SAMPLES + 1, len(part.links), rng)[1:], object))
    sites = np.array([at[one.node_id] for one in below], np.intp)
    courses = np.stack(
        [
            _carried(history, _extended(traced, part, one.variant, prior), one, moved, sites)
            for one, prior in zip(releases, priors, strict=True)
        ]
    )
    found = [
        _arrival(
            courses[:, :, number], begin_s, node_id=one.node_id, site_id=one.site_id, en=one.en, zh=one.zh
        )
        for number, one in enumerate(below)
    ]
    arrivals = sorted((one for one in found if one is not None), key=lambda one: one.arrival_s)
    return arrivals or missing_results.NOT_REACHED


def _draw(traced: TracedRiver, at: dict[str, int], rng: np.random.Generator) -> list[_Release]:
    """Return releases drawn systematically from the posterior (each counts the same)."""
    posterior, kept = traced.posterior, traced.posterior.hypotheses
    weight = np.exp(kept.log_evidence - kept.log_evidence.max(axis=1, keepdims=True))
    weight *= (posterior.probability / weight.sum(axis=1))[:, None]
    levels = (np.arange(N_SAMPLES) + rng.random()) / N_SAMPLES * weight.sum()
    chosen = np.minimum(np.searchsorted(np.cumsum(weight), levels), weight.size - 1)
    return [
        _Release(
            variant=int(kept.variant[candidate, number]),
            cell=at[traced.part.nodes[traced.candidates[candidate]].node_id],
            first=int(kept.first_step[candidate, number]),
            last=int(kept.first_step[candidate, number] + kept.n_release_steps[candidate, number]),
            rate_g_s=float(kept.rate_g_s[candidate, number]),
        )
        for candidate, number in zip(*np.unravel_index(chosen, weight.shape), strict=True)
    ]


def _extended(traced: TracedRiver, part: RiverPart, variant: int, prior: ModelVariant) -> ModelVariant:
    """Return a variant of the posterior, with velocities of the prior where it has none."""
    from analytics.twin.water_response import ModelVariant  # noqa: PLC0415 - scipy, on the first use: 25 MB

    drawn = traced.variants[variant]
    names = [one.link_id for one in traced.part.links]
    inferred = dict(zip(names, drawn.velocity_factor.tolist(), strict=True))
    factors = [
        inferred.get(one.link_id, float(other))
        for one, other in zip(part.links, prior.velocity_factor, strict=True)
    ]
    return ModelVariant(np.array(factors), drawn.dispersion_factor)


def _carried(
    history: FlowHistory,
    variant: ModelVariant,
    release: _Release,
    readings: TracedReadings,
    sites: NDArray[np.intp],
) -> Floats:
    """Return the concentrations at sites, (n_steps, n_sites) [mg/L], scaled to the greatest reading."""
    from analytics.twin.water_response import concentrations  # noqa: PLC0415 - see above

    rate = np.zeros((history.n_steps, 1, 1))
    rate[release.first : release.last] = release.rate_g_s
    carried = concentrations(history, variant, rate, np.array([release.cell]))[:, :, 0]
    greatest = int(readings.value.argmax())
    predicted = carried[: readings.step.max() + 1, readings.node[greatest]].max()
    fitted = readings.value[greatest] / predicted if predicted > 0 else 1.0
    course: Floats = carried[:, sites] * np.clip(fitted, *AMOUNT_FACTORS)
    return course


def _arrival(courses: Floats, begin_s: float, **site: Any) -> DownstreamArrival | None:
    """Return the arrival of (n_samples, n_steps) concentrations at a site; None if most don't reach it."""
    top = courses.argmax(axis=1)
    peak = courses.max(axis=1)
    reached = np.flatnonzero((peak >= LEAST_PEAK_MG_L) & (top < courses.shape[1] - 1))
    probability = len(reached) / len(courses)
    if probability < LEAST_PROBABILITY:
        return None
    edges = np.array([_leading_edge(courses[one]) for one in reached])
    low, middle, high = (begin_s + river_model.STEP_S * np.quantile(edges, BAND)).tolist()
    least, median, most = np.quantile(peak[reached], BAND).tolist()
    return DownstreamArrival(
        **site,
        probability=probability,
        arrival_s=middle,
        arrival_band_s=(low, high),
        peak_s=begin_s + river_model.STEP_S * float(np.median(top[reached] + 1)),
        peak_mg_l=median,
        peak_band_mg_l=(least, most),
    )


def _leading_edge(course: Floats) -> float:
    """Return when a course first has its share of the peak, in steps, linear between the ends of steps."""
    limit = ARRIVAL_SHARE * course.max()
    after = int(np.argmax(course >= limit))
    before = course[after - 1] if after else 0.0
    return after + float((limit - before) / (course[after] - before))
