"""Flags the newest reading of series whose device's clock stands still while other readings arrive.

The live form of `analytics.core.checks.stuck_clock`: the measured time of a reading is that of the newest one
of its series, its value is another, and it was received ``stuck_clock_*_s`` or more after that one. A reading
with the same value is one that was delivered again. As a series has one reading for each measured time, what
is flagged is the reading that is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analytics.core.checks.limits import flags_by_two_limits
from analytics.core.flags import Flag, Rule
from analytics.core.state import SCALAR_COLUMN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.core.parameters import Parameters
    from analytics.core.state import State

    Floats = NDArray[np.float64]
    Slots = NDArray[np.intp]

VALUE, QUALITY, RULES = (SCALAR_COLUMN[name] for name in ("value_1", "quality_1", "rules_1"))
FLAG_COLUMNS = np.array([QUALITY, RULES])


def flag_stuck_clocks(
    state: State, parameters: Parameters, slots: Slots, standstill_s: Floats, value: Floats
) -> Slots:
    """Flag the newest readings of the series whose clock stands still, in the state.

    Parameters
    ----------
    state, parameters : of all series
    slots : (n,) series of readings with the measured time of the newest one of their series
    standstill_s : (n,) time since that one was received [s]
    value : (n,) of the readings, canonical unit

    Returns
    -------
    (m,) series whose newest reading has a new flag or rule, in ascending order

    """
    is_other_reading = value != state.scalars[slots, VALUE]
    limits = (parameters.stuck_clock_suspect_s[slots], parameters.stuck_clock_fail_s[slots])
    flags = flags_by_two_limits(standstill_s, *limits, reached=True)
    flags = np.where(is_other_reading, flags, np.uint8(Flag.PASS))
    is_stuck = flags >= Flag.SUSPECT
    touched = np.unique(slots[is_stuck])
    before = state.scalars[np.ix_(touched, FLAG_COLUMNS)]
    np.maximum.at(state.scalars[:, QUALITY], slots[is_stuck], flags[is_stuck])
    rules = state.scalars[touched, RULES].astype(np.int64) | int(Rule.CLOCK)
    state.scalars[touched, RULES] = rules
    has_changed = (state.scalars[np.ix_(touched, FLAG_COLUMNS)] != before).any(axis=1)
    changed: Slots = touched[has_changed]
    return changed
