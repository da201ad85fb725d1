"""How much less traffic a road can take in the rain, and how much slower it is.

Source: B. Smith, K. Byrne, R. Copperman, S. Hennessy, N. Goodall, "An Investigation into the Impact of
Rainfall on Freeway Traffic Flow", 83rd Annual Meeting of the Transportation Research Board, 2004 (Hampton
Roads, Virginia): light rain, 0.01 to 0.25 inches/h, takes 4 to 10 % of the capacity, heavier rain 25 to 30 %;
the middle of each range is used. The operating speed falls in rain of any intensity, by 3 to 5 % in the
abstract that the Federal Highway Administration gives, by 5.0 to 6.5 % in that of the paper: 5 %, which both
have, is used for the free speed. These are motorways: figures of streets in towns were not found.
"""

from __future__ import annotations

from typing import Final

MM_PER_INCH: Final = 25.4
LIGHT_MM_H, HEAVY_MM_H = 0.01 * MM_PER_INCH, 0.25 * MM_PER_INCH
LIGHT_LOSS, HEAVY_LOSS = 0.07, 0.275  # shares of the capacity: 4 to 10 % and 25 to 30 %
SPEED_LOSS = 0.05  # share of the free speed


def lost_capacity(mm_h: float) -> float:
    """Return the share of the capacity that is lost at an intensity of rain [mm/h].

    >>> [lost_capacity(one) for one in (0.1, 2.0, 10.0)]
    [0.0, 0.07, 0.275]
    """
    if mm_h < LIGHT_MM_H:
        return 0.0
    return HEAVY_LOSS if mm_h >= HEAVY_MM_H else LIGHT_LOSS


def lost_speed(mm_h: float) -> float:
    """Return the share of the free speed that is lost at an intensity of rain [mm/h].

    >>> [lost_speed(one) for one in (0.1, 2.0, 10.0)]
    [0.0, 0.05, 0.05]
    """
    return SPEED_LOSS if mm_h >= LIGHT_MM_H else 0.0
