"""How much less traffic a road can take in the rain.

Source: B. Smith, K. Byrne, R. Copperman, S. Hennessy, N. Goodall, "An Investigation into the Impact of
Rainfall on Freeway Traffic Flow", 83rd Annual Meeting of the Transportation Research Board, 2004 (Hampton
Roads, Virginia): light rain, 0.01 to 0.25 inches/h, takes 4 to 10 % of the capacity, heavier rain 25 to 30 %;
the operating speed falls by 3 to 5 %. The middle of each range is used. These are motorways: figures of
streets in towns were not found. The speed of free traffic is left as it is, since it changes no queue.
"""

from __future__ import annotations

from typing import Final

MM_PER_INCH: Final = 25.4
LIGHT_MM_H, HEAVY_MM_H = 0.01 * MM_PER_INCH, 0.25 * MM_PER_INCH
LIGHT_LOSS, HEAVY_LOSS = 0.07, 0.275  # shares of the capacity: 4 to 10 % and 25 to 30 %


def lost_capacity(mm_h: float) -> float:
    """Return the share of the capacity that is lost at an intensity of rain [mm/h].

    >>> [lost_capacity(one) for one in (0.1, 2.0, 10.0)]
    [0.0, 0.07, 0.275]
    """
    if mm_h < LIGHT_MM_H:
        return 0.0
    return HEAVY_LOSS if mm_h >= HEAVY_MM_H else LIGHT_LOSS
