"""Computes retry waits by exponential back-off with jitter."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Doubles the wait from ``first_s`` up to ``longest_s``; jitter shortens each by up to half.

    The jitter keeps many waiting processes or devices from retrying at the same time.

    >>> backoff = Backoff(first_s=1, longest_s=3)
    >>> [backoff.next_s(jitter) for jitter in (0, 0, 0, 0.5)]
    [1.0, 2.0, 3.0, 2.25]
    """

    first_s: float = 0.2
    longest_s: float = 5.0
    tries: int = field(default=0)

    def reset(self) -> None:
        """Restart at the first wait, after a success."""
        self.tries = 0

    def next_s(self, jitter: float | None = None) -> float:
        """Count a try and return the wait before it [s]; ``jitter``, in [0, 1), is random by default."""
        self.tries += 1
        full_wait_s: float = min(self.longest_s, self.first_s * 2.0 ** min(self.tries - 1, 30))
        return full_wait_s * (1 - (random.random() if jitter is None else jitter) / 2)
