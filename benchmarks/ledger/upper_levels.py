"""Compares what county and city hold after a ledger run with what the towns hold."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.support.federation_rows import ANOMALIES, INCIDENTS, rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

COUNTY_TIMEOUT_S = 300.0
POLL_S = 2.0
# One row of each series and day, with a sum of hashes that does not depend on the order of rows.
READINGS_BY_DAY = """
SELECT s.site_id, s.quantity, date_trunc('day', r."time"), count(*), sum(hashtextextended(concat_ws('|',
    r."time", r.received, r.value, r.expected, r.spread, coalesce(v.quality, r.quality),
    coalesce(v.rules, r.rules)), 0)::numeric)
FROM reading AS r JOIN series AS s USING (series_id) LEFT JOIN flag_revision AS v USING (series_id, "time")
GROUP BY 1, 2, 3
"""


class UpperComparison(NamedTuple):
    """Readings of an upper level; days of a series, anomalies and incidents that differ from the towns'."""

    readings: int = 0
    days_different: int = 0
    anomalies_different: int = 0
    incidents_different: int = 0


def compare_upper_level(towns: Sequence[str], upper: str) -> UpperComparison:
    """Wait until an upper level has what its towns have, or until the time is over, and compare.

    Parameters
    ----------
    towns, upper : URLs of their databases

    """
    until_s = time.monotonic() + COUNTY_TIMEOUT_S
    while True:
        days = _differences(towns, upper, READINGS_BY_DAY)
        anomalies, incidents = (_differences(towns, upper, one) for one in (ANOMALIES, INCIDENTS))
        if not days + anomalies + incidents or time.monotonic() > until_s:
            readings = sum(row[3] for row in rows_of(upper, READINGS_BY_DAY))
            return UpperComparison(readings, days, anomalies, incidents)
        time.sleep(POLL_S)


def _differences(towns: Sequence[str], upper: str, query: str) -> int:
    ours = Counter(row for one in towns for row in _forwarded(rows_of(one, query)))
    theirs = Counter(_forwarded(rows_of(upper, query)))
    return ((ours - theirs) + (theirs - ours)).total()


def _forwarded(rows: list[tuple[Any, ...]]) -> list[str]:
    """Return the rows without anomalies of the platform itself, which stay in the town."""
    return [str(row) for row in rows if row[2] != "platform"]
