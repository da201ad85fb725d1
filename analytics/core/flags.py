"""Defines the QARTOD quality flags and the bits of the rules that set them.

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
    """Reasons why a reading is not simply PASS; bits of a uint16 (the highest bit stays unused)."""

    GROSS_RANGE = 1 << 0
    RATE_OF_CHANGE = 1 << 1
    SPIKE = 1 << 2
    FLAT_LINE = 1 << 3
    RESIDUAL = 1 << 4
    WARM_UP = 1 << 5  # the baseline has too little history
    LATE = 1 << 6  # measured before the time up to which its series was already judged
    UNJUDGED = 1 << 7  # judging failed; the reading is stored nevertheless
    SHIFT = 1 << 8  # a sustained shift or drift
    CLOCK = 1 << 9  # the device's clock is wrong, so the reading was not judged
    NOVELTY = 1 << 10  # outside of the range of all earlier values
    ATTENUATED = 1 << 11  # varies less than a working sensor does
    GAP = 1 << 12  # a long interval since the value before, or a value that is missing
    NOISE = 1 << 13  # varies more from value to value than it usually does
    DEVICE = 1 << 14  # the device itself gave the flag (maintenance, calibration, fault); not judged
