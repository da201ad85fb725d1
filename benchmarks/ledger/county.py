"""Compares what a county holds after a ledger run with what its town holds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.support.federation_rows import ANOMALIES, INCIDENTS, rows_of

if TYPE_CHECKING:
    from benchmarks.ledger.platform import LedgerPlatform

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


class CountyComparison(NamedTuple):
    """Readings of the county; days of a series, anomalies and incidents of town and county that differ."""

    readings: int
    days_different: int
    anomalies_different: int
    incidents_different: int


def compare_county(platform: LedgerPlatform) -> CountyComparison:
    """Wait until the county has what the town has, or until the time is over, and compare."""
    until_s = time.monotonic() + COUNTY_TIMEOUT_S
    while True:
        days = _differences(platform, READINGS_BY_DAY)
        anomalies, incidents = _differences(platform, ANOMALIES), _differences(platform, INCIDENTS)
        if not days + anomalies + incidents or time.monotonic() > until_s:
            readings = sum(row[3] for row in rows_of(platform.county_dsn, READINGS_BY_DAY))
            return CountyComparison(readings, days, anomalies, incidents)
        time.sleep(POLL_S)


def _differences(platform: LedgerPlatform, query: str) -> int:
    town, county = (_forwarded(rows_of(one, query)) for one in (platform.dsn, platform.county_dsn))
    return len(town ^ county)


def _forwarded(rows: list[tuple[Any, ...]]) -> set[str]:
    """Return the rows without anomalies of the platform itself, which stay in the town."""
    return {str(row) for row in rows if row[2] != "platform"}
