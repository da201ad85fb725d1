"""QARTOD quality flags, and the rules that set them.

Source: IOOS QARTOD, "Manual for Real-Time Quality Control", flag table.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag


class Flag(IntEnum):
    """The five QARTOD primary flags."""

    PASS = 1
    NOT_EVALUATED = 2
    SUSPECT = 3
    FAIL = 4
    MISSING = 9


class Rule(IntFlag):
    """Why a reading is not simply PASS; bits of a uint16 (the sign bit stays unused)."""

    GROSS_RANGE = 1 << 0
    RATE_OF_CHANGE = 1 << 1
    SPIKE = 1 << 2
    FLAT_LINE = 1 << 3
    RESIDUAL = 1 << 4
    WARM_UP = 1 << 5  # the baseline could not say yet
    LATE = 1 << 6  # measured before what its series was already judged up to
    UNJUDGED = 1 << 7  # judging failed; stored all the same
    SHIFT = 1 << 8  # a sustained shift or drift
    CLOCK = 1 << 9  # its device's clock is known to be wrong, so it was not judged
    NOVELTY = 1 << 10  # beyond what the series has ever done
    ATTENUATED = 1 << 11  # moves less than a living sensor does
    GAP = 1 << 12  # came long after the value before it
