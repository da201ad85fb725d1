"""Names the probable cause of an event at a site by matching its features with a table of cause patterns.

A pattern is a conjunction over the signed score of each quantity, averaged over the event (−log10 of the
false-alarm probability, `analytics.core.site_score`), the shape of its departure (flat, step, gradual, near
zero), the neighbours along the network, and rain. Every required symptom must have an evidence of
`MIN_EVIDENCE` or more; the evidence of supporting symptoms is summed and must reach it too; excluding
symptoms must stay below it. The strength of a pattern is its weakest evidence, on the same scale as every
score. The first pattern of the table that fits names the event.

Sources: sensor faults after the USGS guidelines for continuous monitors (Wagner and others, TM 1-D3, 2006:
fouling is gradual, calibration drift ends in a step, a sonde in the air reads no conductivity); sewage by
ammonia, conductivity and oxygen as in dry-weather screening of outfalls (Pitt, EPA/600/R-92/238, 1993);
incidents by occupancy above and flow below (Payne and Tignor, TRR 682, 1978).
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

MIN_EVIDENCE = 2.0  # −log10 of a probability, as all evidence
MIN_LONE_EVIDENCE = 4.0  # of one quantity that no other supports
CERTAIN_EVIDENCE = 7.0  # of a constant value or one near zero, which are observed directly
MIN_STEP_SHARE = 0.7  # share of a departure within half an hour above which it is a step
MAX_GRADUAL_SHARE = 0.5  # share below which it is gradual
MIN_SHAPE_TICKS = 24  # length of an event from which on its shape is evaluated
MIN_REMAINING_SHARE = 0.6  # share of the peak departure that a step must keep to the end
NEAR_ZERO_SHARE = 0.05  # share of the expected value
SATURATED_WITHIN = 0.1  # largest distance from oxygen saturation, as a share of it
EVIDENCE_PER_MM_OF_RAIN = 2.0  # so that 1 mm is enough for `MIN_EVIDENCE`

DO, EC, NH3, TURB, PH = "dissolved_oxygen", "conductivity", "ammonia_nitrogen", "turbidity", "ph"
FLOW, SPEED, OCC, RAIN = "traffic_flow", "traffic_speed", "occupancy", "rainfall"


class Direction(IntEnum):
    """Ways in which a quantity departs at the site, or upstream of it."""

    UP = 0
    DOWN = 1
    EITHER_WAY = 2
    NEAR_ZERO = 3
    SATURATED = 4
    RAIN_FELL = 5
    UPSTREAM_UP = 6


class DepartureShape(IntEnum):
    """Shape of a departure over time: constant value, gradual drift, or step."""

    FLAT = 0
    GRADUAL = 1
    STEP = 2


class Symptom(NamedTuple):
    """A quantity and the direction in which it departs."""

    quantity: str
    direction: Direction


class CausePattern(NamedTuple):
    """A cause and the symptoms that identify it.

    Attributes
    ----------
    name : of the cause
    kind : ``sensor``, ``water`` or ``road``: what is affected
    required : symptoms that must all be present
    supporting : symptoms whose summed evidence must suffice
    excluding : symptoms of which none may be present
    lone_shape, lone_quantity : shape in which one of these quantities departs while all others are calm

    """

    name: str
    kind: str
    required: tuple[Symptom, ...] = ()
    supporting: tuple[Symptom, ...] = ()
    excluding: tuple[Symptom, ...] = ()
    lone_shape: DepartureShape | None = None
    lone_quantity: tuple[str, ...] = ()


PROBES = (DO, TURB, PH, EC)  # without ammonia: when it rises alone, its sensor is not assumed to be faulty
PATTERNS = (
    CausePattern(
        "air_exposure",
        "sensor",
        required=(Symptom(EC, Direction.NEAR_ZERO),),
        supporting=(
            Symptom(DO, Direction.SATURATED),
            Symptom("water_temperature", Direction.EITHER_WAY),
            Symptom("water_level", Direction.DOWN),
        ),
    ),
    CausePattern(
        "sensor_stuck",
        "sensor",
        lone_shape=DepartureShape.FLAT,
        lone_quantity=(
            *PROBES,
            NH3,
            "water_temperature",
            "permanganate_index",
            "water_level",
            FLOW,
            SPEED,
            OCC,
        ),
    ),
    CausePattern(
        "sewage",
        "water",
        required=(Symptom(NH3, Direction.UP),),
        supporting=(
            Symptom(EC, Direction.UP),
            Symptom(DO, Direction.DOWN),
            Symptom("permanganate_index", Direction.UP),
            Symptom("total_phosphorus", Direction.UP),
        ),
    ),
    CausePattern(
        "rain_turbidity", "water", required=(Symptom(TURB, Direction.UP), Symptom(RAIN, Direction.RAIN_FELL))
    ),
    CausePattern(
        "sensor_fouling",
        "sensor",
        excluding=(Symptom(RAIN, Direction.RAIN_FELL),),
        lone_shape=DepartureShape.GRADUAL,
        lone_quantity=PROBES,
    ),
    CausePattern(
        "calibration_jump",
        "sensor",
        excluding=(Symptom(RAIN, Direction.RAIN_FELL),),  # rain dilutes a small river within half an hour
        lone_shape=DepartureShape.STEP,
        lone_quantity=PROBES,
    ),
    CausePattern(
        "incident_downstream", "road", required=(Symptom(OCC, Direction.UP), Symptom(SPEED, Direction.DOWN))
    ),
    CausePattern(
        "incident_upstream",
        "road",
        required=(Symptom(OCC, Direction.UPSTREAM_UP),),
        supporting=(Symptom(FLOW, Direction.DOWN), Symptom(OCC, Direction.DOWN)),
    ),
)


class EventFeatures(NamedTuple):
    """Features of events, ``(n_events, n_quantities)`` each unless stated otherwise.

    Attributes
    ----------
    mean : mean signed score over the event
    rise : largest change within half an hour, as a share of the departure at its peak
    stays : departure at the end, likewise
    flat : whether the value was constant
    nothing : whether the value was near zero
    saturation : oxygen saturation at the end [share]; (n_events,), NaN where unknown
    upstream, downstream : mean signed score of the neighbours, shifted by the travel time of the water (or
        queue); 0 where unknown
    rain_mm : rain in the hours up to the end, (n_events,) [mm]
    ticks : duration, (n_events,)

    """

    mean: Floats
    rise: Floats
    stays: Floats
    flat: Bools
    nothing: Bools
    saturation: Floats
    upstream: Floats
    downstream: Floats
    rain_mm: Floats
    ticks: NDArray[np.intp]


class NamedCauses(NamedTuple):
    """Cause of each event, ``(n_events,)`` each.

    Attributes
    ----------
    pattern : index in `PATTERNS`, −1 where none fits
    strength : weakest evidence of the pattern, −log10 of a probability
    quantity : index of the quantity that departs alone, −1 where the pattern has no ``lone_shape``

    """

    pattern: NDArray[np.intp]
    strength: Floats
    quantity: NDArray[np.intp]


def name_causes(features: EventFeatures, quantities: Sequence[str]) -> NamedCauses:
    """Return the first pattern that fits each event, and its strength.

    Parameters
    ----------
    features : of n_events events
    quantities : (n_quantities,) names of the columns

    """
    n, evidence_by_direction = len(features.ticks), _evidence_by_direction(features)
    pattern, quantity = np.full(n, -1, np.intp), np.full(n, -1, np.intp)
    strength = np.zeros(n)
    for at, one in enumerate(PATTERNS):
        pattern_evidence, lone_quantity = _pattern_strength(
            one, evidence_by_direction, features, list(quantities)
        )
        named = (pattern < 0) & (pattern_evidence >= MIN_EVIDENCE)
        pattern[named], strength[named], quantity[named] = at, pattern_evidence[named], lone_quantity[named]
    return NamedCauses(pattern, strength, quantity)


def _pattern_strength(
    one: CausePattern,
    evidence_by_direction: dict[Direction, Floats],
    features: EventFeatures,
    quantities: list[str],
) -> tuple[Floats, NDArray[np.intp]]:
    """Return the weakest evidence of a pattern, and which quantity departs alone, (n_events,) each."""
    nothing = np.zeros(len(features.ticks))

    def evidence(sign: Symptom) -> Floats:
        return (
            evidence_by_direction[sign.direction][:, quantities.index(sign.quantity)]
            if sign.quantity in quantities
            else nothing
        )

    parts = [evidence(sign) for sign in one.required]
    if one.supporting:
        parts.append(np.sum([np.maximum(evidence(sign), 0.0) for sign in one.supporting], axis=0))
    lone_quantity = np.full(len(nothing), -1, np.intp)
    if one.lone_shape is not None:
        may_depart_alone = [name in one.lone_quantity for name in quantities]
        lone_evidence = np.where(may_depart_alone, _lone_departure(one.lone_shape, features), 0.0)
        lone_quantity = lone_evidence.argmax(axis=1)
        parts.append(lone_evidence.max(axis=1))
    is_excluded = np.any([evidence(sign) >= MIN_EVIDENCE for sign in one.excluding] or [nothing > 0], axis=0)
    return np.where(is_excluded, 0.0, np.min(parts, axis=0)), lone_quantity


def _evidence_by_direction(features: EventFeatures) -> dict[Direction, Floats]:
    """Return the evidence that each quantity departs in each direction, (n_events, n_quantities) each."""
    saturated = np.where(np.abs(features.saturation - 1) < SATURATED_WITHIN, MIN_EVIDENCE, 0.0)
    rain = EVIDENCE_PER_MM_OF_RAIN * np.nan_to_num(features.rain_mm)
    return {
        Direction.UP: features.mean,
        Direction.DOWN: -features.mean,
        Direction.EITHER_WAY: np.abs(features.mean),
        Direction.NEAR_ZERO: CERTAIN_EVIDENCE * features.nothing,
        Direction.SATURATED: np.broadcast_to(saturated[:, None], features.mean.shape),
        Direction.RAIN_FELL: np.broadcast_to(rain[:, None], features.mean.shape),
        Direction.UPSTREAM_UP: features.upstream,
    }


def _lone_departure(shape: DepartureShape, features: EventFeatures) -> Floats:
    """Return the evidence that a quantity departs alone in a shape, (n_events, n_quantities).

    0 where other quantities are not calm or a neighbour shows the same departure.
    """
    magnitude = np.abs(features.mean)
    lasts_long_enough = (features.ticks >= MIN_SHAPE_TICKS)[:, None]
    shape_fits = (
        features.flat,
        lasts_long_enough & (features.rise < MAX_GRADUAL_SHARE),
        lasts_long_enough & (features.rise > MIN_STEP_SHARE) & (features.stays > MIN_REMAINING_SHARE),
    )[shape]
    evidence = (
        np.where(features.flat, CERTAIN_EVIDENCE, magnitude) if shape == DepartureShape.FLAT else magnitude
    )
    others = _largest_other(magnitude)
    is_shared_by_neighbour = (
        np.maximum(features.upstream * np.sign(features.mean), features.downstream * np.sign(features.mean))
        >= MIN_EVIDENCE
    )
    pattern_evidence: Floats = np.where(
        shape_fits & (evidence >= MIN_LONE_EVIDENCE) & (others < MIN_EVIDENCE) & ~is_shared_by_neighbour,
        evidence,
        0.0,
    )
    return pattern_evidence


def _largest_other(x: Floats) -> Floats:
    """Return for each element the largest of the other columns in its row, (n, m)."""
    if x.shape[1] < 2:
        return np.zeros_like(x)
    order = np.sort(x, axis=1)
    return np.where(x == order[:, -1:], order[:, -2:-1], order[:, -1:])
