"""Measures the cost of row-level security: API requests with an area's and an administrator's key."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import numpy as np
import psycopg

from benchmarks._api_load import request
from benchmarks._filled_database import END_US, QUANTITIES, STATEMENTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

TOWN, COUNTY = "330400-t1", "330400"
LONG_SERIES = 1 + len(QUANTITIES)
"""Id of the first series of the town's first site, which gets `LONG_READINGS` readings."""
LONG_READINGS = 2_000_000
STEP_S = 15
ADMINISTRATOR = "administrator"
WARM_UP_ROUNDS, MIN_ROUNDS = 3, 20
MAX_DURATION_S = 5.0
SAFE = "/?&=$();,':"
EXPANSIONS = "STA 200 Datastreams"
NEWEST = "$orderby=phenomenonTime desc;$top=1"


class Path(NamedTuple):
    """A request that is sent with several keys."""

    address: str
    of_county: bool = False
    """Whether it concerns the whole county, so that a town's key is not comparable."""


class KeyTimes(NamedTuple):
    """Response times (n,) of one request by key [s]."""

    name: str
    times_s: dict[str, NDArray[np.float64]]

    def ratio(self, key: str, quantile: float) -> float:
        """Return a quantile of the times with a key over that with the administrator's key."""
        return float(
            np.quantile(self.times_s[key], quantile) / np.quantile(self.times_s[ADMINISTRATOR], quantile)
        )


def fill_long_series(dsn: str, readings: int = LONG_READINGS) -> None:
    """Replace the readings of one series with ``readings`` ones, 15 s apart, and compute its rollups."""
    parameters = {"series": LONG_SERIES, "readings": readings, "end_s": END_US / 1e6, "step_s": STEP_S}
    with psycopg.connect(dsn, autocommit=True) as connection:
        for name in ("clear_long", "long", "latest", "revised"):
            connection.execute(STATEMENTS[name], parameters)
        for name in ("rollup_15min", "rollup_1h", "rollup_1day"):
            connection.execute(STATEMENTS[f"clear_{name}"])
            connection.execute(STATEMENTS[name])
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def newest_anomaly_id(dsn: str) -> int:
    """Return the id of an anomaly of the town."""
    with psycopg.connect(dsn) as connection:
        (found,) = connection.execute(STATEMENTS["newest_anomaly"], {"series": LONG_SERIES}).fetchone() or (
            0,
        )
        return int(found)


def request_paths(anomaly_id: int) -> dict[str, Path]:
    """Return the requests by name; ``anomaly_id`` is an anomaly of the town."""
    of_long = f"/sta/v1.1/Datastreams({LONG_SERIES})"
    of_town = f"$filter=Thing/properties/area eq '{TOWN}'"
    year = "from=2025-11-21T00:00:00Z&to=2026-11-21T00:00:00Z"
    month = "from=2026-10-21T00:00:00Z&to=2026-11-21T00:00:00Z"
    day = "from=2026-11-20T00:00:00Z&to=2026-11-21T00:00:00Z"
    found = {
        "STA newest observation of a Datastream": f"{of_long}/Observations?{NEWEST.replace(';', '&')}",
        "STA oldest observations of a Datastream": f"{of_long}/Observations?$orderby=phenomenonTime&$top=100",
        "STA a Datastream, plain": of_long,
        "STA doubtful observations of a Datastream": (
            f"{of_long}/Observations?$filter=resultQuality/value ge 3&$orderby=phenomenonTime desc&$top=100"
        ),
        "STA observations of a day": (
            f"{of_long}/Observations?$filter=during(phenomenonTime,2026-11-20T00:00:00Z/P1D)&$top=1000"
        ),
        "STA count of a Datastream": f"{of_long}/Observations?$count=true&$top=0",
        "STA count by a filter": f"{of_long}/Observations?$filter=result gt 7.9999&$count=true&$top=0",
        "STA Datastreams of a town": f"/sta/v1.1/Datastreams?{of_town}",
        "STA Datastreams with latest": f"/sta/v1.1/Datastreams?{of_town}&$expand=Observations({NEWEST})",
        "STA Datastreams with counts": (
            f"/sta/v1.1/Datastreams?{of_town}&$expand=Observations($count=true;$top=0)"
        ),
        "STA Things with latest": (
            "/sta/v1.1/Things?$filter=properties/area eq "
            f"'{TOWN}'&$expand=Datastreams($expand=Observations({NEWEST}))"
        ),
        "STA observations, plain": "/sta/v1.1/Observations",
        "STA observations, newest of all": "/sta/v1.1/Observations?$orderby=phenomenonTime desc&$top=20",
        "/v1/latest": f"/v1/latest?area={TOWN}",
        "/v1/anomalies": f"/v1/anomalies?area={TOWN}&limit=100",
        "/v1/anomalies open": f"/v1/anomalies?area={TOWN}&state=open",
        "/v1/series readings of a day": f"/v1/series/{LONG_SERIES}/readings?{day}",
        "/v1/series readings of a year, first page": f"/v1/series/{LONG_SERIES}/readings?{year}",
        "/v1/readings of a town, first page": f"/v1/readings?area={TOWN}&{year}",
        "/v1/series buckets": f"/v1/series/{LONG_SERIES}/buckets?width=P1D&{year}",
        "/v1/plot": f"/v1/plot?series={LONG_SERIES}&{day}",
        "/v1/series": f"/v1/series?area={TOWN}",
        "/v1/sites": f"/v1/sites?area={TOWN}",
        "/v1/anomalies, one": f"/v1/anomalies/{anomaly_id}",
        "/v1/anomalies, trace": f"/v1/anomalies/{anomaly_id}/trace",
        "/v1/series limits": f"/v1/series/{LONG_SERIES}/limits",
        "/v1/dead-letters": "/v1/dead-letters",
        "/v1/assessments": f"/v1/assessments?area={TOWN}",
        "NGSI-LD entities": f"/v1/ngsi-ld/entities?area={TOWN}",
        "/v1/readings of a month as a file": f"/v1/readings?series={LONG_SERIES}&{month}&format=arrow",
    }
    of_county = {
        f"{EXPANSIONS} with latest": f"/sta/v1.1/Datastreams?$top=216&$expand=Observations({NEWEST})",
        f"{EXPANSIONS} with counts": (
            "/sta/v1.1/Datastreams?$top=216&$expand=Observations($count=true;$top=0)"
        ),
        "STA count of all observations": "/sta/v1.1/Observations?$count=true&$top=0",
        "STA all Things with latest": (
            f"/sta/v1.1/Things?$expand=Datastreams($expand=Observations({NEWEST}))"
        ),
        "/v1/latest of the county": f"/v1/latest?area={COUNTY}",
        "/v1/anomalies of the county": f"/v1/anomalies?area={COUNTY}&limit=100",
        "/v1/twin/state": "/v1/twin/state",
        "/v1/health": "/v1/health",
    }
    return {name: Path(quote(one, safe=SAFE)) for name, one in found.items()} | {
        name: Path(quote(one, safe=SAFE), of_county=True) for name, one in of_county.items()
    }


def compare_keys(
    port: int, keys: dict[str, dict[str, str]], anomaly_id: int, rounds: int, *, only: str = ""
) -> Iterator[KeyTimes]:
    """Send each request with every key in turn, ``rounds`` times, or for `MAX_DURATION_S` if that is less.

    Parameters
    ----------
    port : of the gateway
    keys : headers by name; one is `ADMINISTRATOR`, the others are ids of areas
    anomaly_id : id of an anomaly of the town
    rounds : maximum number of rounds
    only : send only requests whose name contains this

    """
    for name, path in request_paths(anomaly_id).items():
        names = [one for one in keys if not path.of_county or one in {ADMINISTRATOR, COUNTY}]
        if only not in name or len(names) < 2:
            continue
        times: dict[str, list[float]] = {one: [] for one in names}
        began_s = time.perf_counter()
        for at in range(-WARM_UP_ROUNDS, rounds):
            if at > MIN_ROUNDS and time.perf_counter() - began_s > MAX_DURATION_S:
                break
            turn = at % len(names)
            for one in names[turn:] + names[:turn]:
                took_s = _time_request(port, path.address, keys[one])
                if at >= 0:
                    times[one].append(took_s)
        yield KeyTimes(name, {one: np.array(took) for one, took in times.items()})


def _time_request(port: int, path: str, headers: dict[str, str]) -> float:
    """Return the time of one response over a new connection, whose cost is the same for all keys [s]."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        began_s = time.perf_counter()
        client.sendall(request(path, headers | {"Connection": "close"}))
        with client.makefile("rb") as reader:
            first = reader.readline()
            assert b" 200 " in first, (path, first, reader.read()[-500:])
            while reader.read(1 << 20):
                pass
        return time.perf_counter() - began_s
