"""Computes retry waits by exponential back-off with jitter."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Doubles the wait from ``first_s`` up to ``longest_s``; each is scaled by a random factor of 0.5 to 1.

    The jitter keeps many waiting processes from retrying at the same time.
    """

    first_s: float = 0.2
    longest_s: float = 5.0
    tries: int = field(default=0)

    def next_s(self) -> float:
        """Count a try and return the wait before it [s]."""
        self.tries += 1
        full_wait_s: float = min(self.longest_s, self.first_s * 2.0 ** min(self.tries - 1, 30))
        return full_wait_s * random.uniform(0.5, 1.0)
