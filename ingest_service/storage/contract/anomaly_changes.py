"""Describes anomaly changes that were too many for a live stream: newest revision and time range."""

from __future__ import annotations

import msgspec


class OmittedChanges(msgspec.Struct, frozen=True):
    """Anomaly changes that were too many to be sent.

    ``revision`` is the newest of them. ``first_s`` and ``last_s`` are the first and the last start time [s]
    of the changed anomalies at the given sites; both are None if there are none at these sites. With
    ``times_are_known`` False, there were too many changes to examine all of them.
    """

    revision: int
    times_are_known: bool
    first_s: float | None
    last_s: float | None
