"""Compares what county and city hold after a ledger run with what the towns hold."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.support.federation_rows import ANOMALIES, INCIDENTS, rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

COUNTY_TIMEOUT_S = 300.0
POLL_S = 2.0
MAX_PRINTED = 6  # rows that differ, of each kind
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

    Prints some of the rows that differ then.

    Parameters
    ----------
    towns, upper : URLs of their databases

    """
    until_s = time.monotonic() + COUNTY_TIMEOUT_S
    while True:
        differences = [_differences(towns, upper, one) for one in (READINGS_BY_DAY, ANOMALIES, INCIDENTS)]
        if not any(differences) or time.monotonic() > until_s:
            for row in [row for found in differences for row in found[:MAX_PRINTED]]:
                print(row, file=sys.stderr)
            readings = sum(row[3] for row in rows_of(upper, READINGS_BY_DAY))
            return UpperComparison(readings, *map(len, differences))
        time.sleep(POLL_S)


def _differences(towns: Sequence[str], upper: str, query: str) -> list[str]:
    """Return the rows that one side alone has, each with its side."""
    ours = Counter(row for one in towns for row in _forwarded(rows_of(one, query)))
    theirs = Counter(_forwarded(rows_of(upper, query)))
    below, above = (ours - theirs).elements(), (theirs - ours).elements()
    return sorted([f"{row} at the town alone" for row in below] + [f"{row} above alone" for row in above])


def _forwarded(rows: list[tuple[Any, ...]]) -> list[str]:
    """Return the rows without anomalies of the platform itself, which stay in the town."""
    return [str(row) for row in rows if row[2] != "platform"]
