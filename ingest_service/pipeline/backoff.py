"""How long to wait before the next try."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Doubling from ``first_s`` to ``longest_s``, each wait cut at random to between half and all of it.

    Whatever many processes wait for does not see them all come back at once.
    """

    first_s: float = 0.2
    longest_s: float = 5.0
    tries: int = field(default=0)

    def next_s(self) -> float:
        """The next wait [s]."""
        self.tries += 1
        whole_s: float = min(self.longest_s, self.first_s * 2.0 ** min(self.tries - 1, 30))
        return whole_s * random.uniform(0.5, 1.0)
