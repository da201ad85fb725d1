"""Matches an event at a site with a table of causes.

A pattern is a conjunction. It looks at the signed score of each quantity, averaged over the event (−log10 of
the false-alarm probability, `analytics.core.several`), at the shape in which it went (flat, in a step,
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

LEAST = 2.0  # evidence, −log10 of a probability
LEAST_ALONE = 4.0  # of one quantity that nothing else bears out
CERTAIN = 7.0  # evidence of what is plainly seen: a value that stands still, or nothing at all
STEP_SHARE = 0.7  # of a departure within half an hour: more is a step
GRADUAL_SHARE = 0.5  # less is gradual
LASTS = 24  # ticks before a shape can be told
STAYS_SHARE = 0.6  # of the departure at its peak
NOTHING_SHARE = 0.05  # of what is expected
SATURATED_WITHIN = 0.1  # of saturation
RAIN_SLOPE = 2.0  # evidence of a millimetre

DO, EC, NH3, TURB, PH = "dissolved_oxygen", "conductivity", "ammonia_nitrogen", "turbidity", "ph"
FLOW, SPEED, OCC, RAIN = "traffic_flow", "traffic_speed", "occupancy", "rainfall"


class Way(IntEnum):
    """How a quantity departs."""

    UP = 0
    DOWN = 1
    AWAY = 2
    TO_NOTHING = 3
    SATURATED = 4
    FELL = 5
    UPSTREAM_UP = 6


class Shape(IntEnum):
    """The shape in which one quantity departs, alone."""

    FLAT = 0
    GRADUAL = 1
    STEP = 2


class Sign(NamedTuple):
    """A quantity that departs in a way."""

    quantity: str
    way: Way


class Pattern(NamedTuple):
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
    must: tuple[Sign, ...] = ()
    helps: tuple[Sign, ...] = ()
    unless: tuple[Sign, ...] = ()
    alone: Shape | None = None
    of: tuple[str, ...] = ()


PROBES = (DO, TURB, PH, EC)  # ammonia that rises alone is not put down to its sensor
PATTERNS = (
    Pattern(
        "air_exposure",
        "sensor",
        must=(Sign(EC, Way.TO_NOTHING),),
        helps=(Sign(DO, Way.SATURATED), Sign("water_temperature", Way.AWAY), Sign("water_level", Way.DOWN)),
    ),
    Pattern(
        "sensor_stuck",
        "sensor",
        alone=Shape.FLAT,
        of=(*PROBES, NH3, "water_temperature", "permanganate_index", "water_level", FLOW, SPEED, OCC),
    ),
    Pattern(
        "sewage",
        "water",
        must=(Sign(NH3, Way.UP),),
        helps=(
            Sign(EC, Way.UP),
            Sign(DO, Way.DOWN),
            Sign("permanganate_index", Way.UP),
            Sign("total_phosphorus", Way.UP),
        ),
    ),
    Pattern("rain_turbidity", "water", must=(Sign(TURB, Way.UP), Sign(RAIN, Way.FELL))),
    Pattern("sensor_fouling", "sensor", unless=(Sign(RAIN, Way.FELL),), alone=Shape.GRADUAL, of=PROBES),
    Pattern("calibration_jump", "sensor", alone=Shape.STEP, of=PROBES),
    Pattern("incident_downstream", "road", must=(Sign(OCC, Way.UP), Sign(SPEED, Way.DOWN))),
    Pattern(
        "incident_upstream",
        "road",
        must=(Sign(OCC, Way.UPSTREAM_UP),),
        helps=(Sign(FLOW, Way.DOWN), Sign(OCC, Way.DOWN)),
    ),
)


class Seen(NamedTuple):
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


class Named(NamedTuple):
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


def name(seen: Seen, quantities: Sequence[str]) -> Named:
    """Name the events.

    Parameters
    ----------
    seen : of events
    quantities : what the columns are

    """
    n, ways = len(seen.ticks), _ways(seen)
    pattern, quantity = np.full(n, -1, np.intp), np.full(n, -1, np.intp)
    strength = np.zeros(n)
    for at, one in enumerate(PATTERNS):
        found, of = _strength(one, ways, seen, list(quantities))
        named = (pattern < 0) & (found >= LEAST)
        pattern[named], strength[named], quantity[named] = at, found[named], of[named]
    return Named(pattern, strength, quantity)


def _strength(
    one: Pattern, ways: dict[Way, Floats], seen: Seen, quantities: list[str]
) -> tuple[Floats, NDArray[np.intp]]:
    """The weakest evidence of a pattern, (n_events,), and the quantity that departs alone."""
    nothing = np.zeros(len(seen.ticks))

    def evidence(sign: Sign) -> Floats:
        return ways[sign.way][:, quantities.index(sign.quantity)] if sign.quantity in quantities else nothing

    parts = [evidence(sign) for sign in one.must]
    if one.helps:
        parts.append(np.sum([np.maximum(evidence(sign), 0.0) for sign in one.helps], axis=0))
    of = np.full(len(nothing), -1, np.intp)
    if one.alone is not None:
        meant = [name in one.of for name in quantities]
        alone = np.where(meant, _alone(one.alone, seen), 0.0)
        of = alone.argmax(axis=1)
        parts.append(alone.max(axis=1))
    spoken_against = np.any([evidence(sign) >= LEAST for sign in one.unless] or [nothing > 0], axis=0)
    return np.where(spoken_against, 0.0, np.min(parts, axis=0)), of


def _ways(seen: Seen) -> dict[Way, Floats]:
    """(n_events, n_quantities) evidence that each quantity departs in each way."""
    saturated = np.where(np.abs(seen.saturation - 1) < SATURATED_WITHIN, LEAST, 0.0)
    rain = RAIN_SLOPE * np.nan_to_num(seen.rain_mm)
    return {
        Way.UP: seen.mean,
        Way.DOWN: -seen.mean,
        Way.AWAY: np.abs(seen.mean),
        Way.TO_NOTHING: CERTAIN * seen.nothing,
        Way.SATURATED: np.broadcast_to(saturated[:, None], seen.mean.shape),
        Way.FELL: np.broadcast_to(rain[:, None], seen.mean.shape),
        Way.UPSTREAM_UP: seen.upstream,
    }


def _alone(shape: Shape, seen: Seen) -> Floats:
    """(n_events, n_quantities) evidence that one departs in a shape; 0 where others are not calm."""
    away = np.abs(seen.mean)
    lasts = (seen.ticks >= LASTS)[:, None]
    fits = (
        seen.flat,
        lasts & (seen.rise < GRADUAL_SHARE),
        lasts & (seen.rise > STEP_SHARE) & (seen.stays > STAYS_SHARE),
    )[shape]
    evidence = np.where(seen.flat, CERTAIN, away) if shape == Shape.FLAT else away
    others = _largest_other(away)
    followed = np.maximum(seen.upstream * np.sign(seen.mean), seen.downstream * np.sign(seen.mean)) >= LEAST
    found: Floats = np.where(fits & (evidence >= LEAST_ALONE) & (others < LEAST) & ~followed, evidence, 0.0)
    return found


def _largest_other(x: Floats) -> Floats:
    """The largest of the other columns of a row."""
    if x.shape[1] < 2:
        return np.zeros_like(x)
    order = np.sort(x, axis=1)
    return np.where(x == order[:, -1:], order[:, -2:-1], order[:, -1:])
