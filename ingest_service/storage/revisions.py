"""What the store returns to followers of revisions."""

from __future__ import annotations

import msgspec


class LeftOut(msgspec.Struct, frozen=True):
    """Changes of anomalies that are too many to be delivered again.

    ``revision`` is the newest of them. ``first_s`` and ``last_s`` are the first and the last start of their
    anomalies, of the sites concerned [s]; both are None where there is none of these sites, and with
    ``is_counted`` False, where there were too many to look at.
    """

    revision: int
    is_counted: bool
    first_s: float | None
    last_s: float | None
