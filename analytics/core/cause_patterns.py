"""Matches an event at a site with a table of causes.

A pattern is a conjunction. It looks at the signed score of each quantity, averaged over the event (−log10 of
the false-alarm probability, `analytics.core.site_score`), at the shape in which it went (flat, in a step,
gradually, to nothing), at the neighbours along the network, and at rain. All that must be there is there with
`LEAST` or more; of what helps, the evidence is summed; of what speaks against it there is less. Its strength
is the weakest of its evidence, so that it compares with every other score. The first pattern of the table
that fits names the event.

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

MIN_EVIDENCE = 2.0  # evidence, −log10 of a probability
MIN_LONE_EVIDENCE = 4.0  # of one quantity that nothing else bears out
CERTAIN_EVIDENCE = 7.0  # evidence of what is plainly seen: a value that stands still, or nothing at all
MIN_STEP_SHARE = 0.7  # of a departure within half an hour: more is a step
MAX_GRADUAL_SHARE = 0.5  # less is gradual
MIN_SHAPE_TICKS = 24  # ticks before a shape can be told
MIN_REMAINING_SHARE = 0.6  # of the departure at its peak
NEAR_ZERO_SHARE = 0.05  # of what is expected
SATURATED_WITHIN = 0.1  # of saturation
EVIDENCE_PER_MM_OF_RAIN = 2.0  # evidence of a millimetre

DO, EC, NH3, TURB, PH = "dissolved_oxygen", "conductivity", "ammonia_nitrogen", "turbidity", "ph"
FLOW, SPEED, OCC, RAIN = "traffic_flow", "traffic_speed", "occupancy", "rainfall"


class Direction(IntEnum):
    """How a quantity departs."""

    UP = 0
    DOWN = 1
    AWAY = 2
    TO_NOTHING = 3
    SATURATED = 4
    FELL = 5
    UPSTREAM_UP = 6


class DepartureShape(IntEnum):
    """The shape in which one quantity departs, alone."""

    FLAT = 0
    GRADUAL = 1
    STEP = 2


class Symptom(NamedTuple):
    """A quantity that departs in a way."""

    quantity: str
    direction: Direction


class CausePattern(NamedTuple):
    """A cause, and what speaks for it.

    Attributes
    ----------
    name : of the cause
    kind : ``sensor``, ``water`` or ``road``: what is wrong
    must : all of it
    helps : together
    unless : none of it
    alone, of : the shape in which one of some quantities departs, while all others are calm

    """

    name: str
    kind: str
    required: tuple[Symptom, ...] = ()
    supporting: tuple[Symptom, ...] = ()
    excluding: tuple[Symptom, ...] = ()
    lone_shape: DepartureShape | None = None
    of: tuple[str, ...] = ()


PROBES = (DO, TURB, PH, EC)  # ammonia that rises alone is not put down to its sensor
PATTERNS = (
    CausePattern(
        "air_exposure",
        "sensor",
        required=(Symptom(EC, Direction.TO_NOTHING),),
        supporting=(
            Symptom(DO, Direction.SATURATED),
            Symptom("water_temperature", Direction.AWAY),
            Symptom("water_level", Direction.DOWN),
        ),
    ),
    CausePattern(
        "sensor_stuck",
        "sensor",
        lone_shape=DepartureShape.FLAT,
        of=(*PROBES, NH3, "water_temperature", "permanganate_index", "water_level", FLOW, SPEED, OCC),
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
        "rain_turbidity", "water", required=(Symptom(TURB, Direction.UP), Symptom(RAIN, Direction.FELL))
    ),
    CausePattern(
        "sensor_fouling",
        "sensor",
        excluding=(Symptom(RAIN, Direction.FELL),),
        lone_shape=DepartureShape.GRADUAL,
        of=PROBES,
    ),
    CausePattern("calibration_jump", "sensor", lone_shape=DepartureShape.STEP, of=PROBES),
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
    """What was seen of events, ``(n_events, n_quantities)`` each unless said otherwise.

    Attributes
    ----------
    mean : signed score over the event
    rise : largest change within half an hour, as a share of the departure at its peak
    stays : departure at the end, likewise
    flat : whether it stood still
    nothing : whether it went to nothing
    saturation : of oxygen, at the end [share]; (n_events,), NaN where unknown
    upstream, downstream : mean signed score of the neighbours when the water (or queue) was there; 0 unknown
    rain_mm : that fell in the hours up to the end, (n_events,) [mm]
    ticks : how long it has lasted, (n_events,)

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
    """The cause of each event, ``(n_events,)`` each.

    Attributes
    ----------
    pattern : place in `PATTERNS`, −1 where none fits
    strength : the weakest of its evidence, −log10 of a probability
    quantity : the one that departs alone, −1 where it is no matter of one

    """

    pattern: NDArray[np.intp]
    strength: Floats
    quantity: NDArray[np.intp]


def name_causes(features: EventFeatures, quantities: Sequence[str]) -> NamedCauses:
    """Name the events.

    Parameters
    ----------
    seen : of events
    quantities : what the columns are

    """
    n, evidence_by_direction = len(features.ticks), _evidence_by_direction(features)
    pattern, quantity = np.full(n, -1, np.intp), np.full(n, -1, np.intp)
    strength = np.zeros(n)
    for at, one in enumerate(PATTERNS):
        found, of = _pattern_strength(one, evidence_by_direction, features, list(quantities))
        named = (pattern < 0) & (found >= MIN_EVIDENCE)
        pattern[named], strength[named], quantity[named] = at, found[named], of[named]
    return NamedCauses(pattern, strength, quantity)


def _pattern_strength(
    one: CausePattern,
    evidence_by_direction: dict[Direction, Floats],
    features: EventFeatures,
    quantities: list[str],
) -> tuple[Floats, NDArray[np.intp]]:
    """The weakest evidence of a pattern, (n_events,), and the quantity that departs alone."""
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
    of = np.full(len(nothing), -1, np.intp)
    if one.lone_shape is not None:
        is_candidate = [name in one.of for name in quantities]
        lone_evidence = np.where(is_candidate, _lone_departure(one.lone_shape, features), 0.0)
        of = lone_evidence.argmax(axis=1)
        parts.append(lone_evidence.max(axis=1))
    is_excluded = np.any([evidence(sign) >= MIN_EVIDENCE for sign in one.excluding] or [nothing > 0], axis=0)
    return np.where(is_excluded, 0.0, np.min(parts, axis=0)), of


def _evidence_by_direction(features: EventFeatures) -> dict[Direction, Floats]:
    """(n_events, n_quantities) evidence that each quantity departs in each way."""
    saturated = np.where(np.abs(features.saturation - 1) < SATURATED_WITHIN, MIN_EVIDENCE, 0.0)
    rain = EVIDENCE_PER_MM_OF_RAIN * np.nan_to_num(features.rain_mm)
    return {
        Direction.UP: features.mean,
        Direction.DOWN: -features.mean,
        Direction.AWAY: np.abs(features.mean),
        Direction.TO_NOTHING: CERTAIN_EVIDENCE * features.nothing,
        Direction.SATURATED: np.broadcast_to(saturated[:, None], features.mean.shape),
        Direction.FELL: np.broadcast_to(rain[:, None], features.mean.shape),
        Direction.UPSTREAM_UP: features.upstream,
    }


def _lone_departure(shape: DepartureShape, features: EventFeatures) -> Floats:
    """(n_events, n_quantities) evidence that one departs in a shape; 0 where others are not calm."""
    away = np.abs(features.mean)
    lasts_long_enough = (features.ticks >= MIN_SHAPE_TICKS)[:, None]
    shape_fits = (
        features.flat,
        lasts_long_enough & (features.rise < MAX_GRADUAL_SHARE),
        lasts_long_enough & (features.rise > MIN_STEP_SHARE) & (features.stays > MIN_REMAINING_SHARE),
    )[shape]
    evidence = np.where(features.flat, CERTAIN_EVIDENCE, away) if shape == DepartureShape.FLAT else away
    others = _largest_other(away)
    neighbours_show_it = (
        np.maximum(features.upstream * np.sign(features.mean), features.downstream * np.sign(features.mean))
        >= MIN_EVIDENCE
    )
    found: Floats = np.where(
        shape_fits & (evidence >= MIN_LONE_EVIDENCE) & (others < MIN_EVIDENCE) & ~neighbours_show_it,
        evidence,
        0.0,
    )
    return found


def _largest_other(x: Floats) -> Floats:
    """The largest of the other columns of a row."""
    if x.shape[1] < 2:
        return np.zeros_like(x)
    order = np.sort(x, axis=1)
    return np.where(x == order[:, -1:], order[:, -2:-1], order[:, -1:])
