"""What row-level security costs: requests by the key of an area and by an administrator's, in turn."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import numpy as np
import psycopg

from benchmarks._api_load import request
from benchmarks._filled import END_US, QUANTITIES, STATEMENTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOWN, COUNTY = "330400-t1", "330400"
LONG = 1 + len(QUANTITIES)
"""The first series of that town's first site: the one with `LONG_READINGS`."""
LONG_READINGS = 2_000_000
STEP_S = 15
WARM = 3
NEWEST = "$orderby=phenomenonTime desc;$top=1"


class Compared(NamedTuple):
    """Seconds each time (n,), by either key."""

    name: str
    administrator_s: NDArray[np.float64]
    area_s: NDArray[np.float64]

    def ratio(self, quantile: float) -> float:
        """By the area's key over by the administrator's."""
        return float(np.quantile(self.area_s, quantile) / np.quantile(self.administrator_s, quantile))


def lengthen(dsn: str, readings: int = LONG_READINGS) -> None:
    """Add a series of so many readings, 15 s apart, in place of what one series holds; roll it up."""
    given = {"series": LONG, "readings": readings, "end_s": END_US / 1e6, "step_s": STEP_S}
    with psycopg.connect(dsn, autocommit=True) as connection:
        for name in ("clear_long", "long", "latest", "revised"):
            connection.execute(STATEMENTS[name], given)
        for name in ("rollup_15min", "rollup_1h", "rollup_1day"):
            connection.execute(STATEMENTS[f"clear_{name}"])
            connection.execute(STATEMENTS[name])
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def paths() -> dict[str, str]:
    """The requests by name; every one means the same by either key."""
    of_long = f"/sta/v1.1/Datastreams({LONG})"
    of_town = f"$filter=Thing/properties/area eq '{TOWN}'"
    year = "from=2025-11-21T00:00:00Z&to=2026-11-21T00:00:00Z"
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
        "/v1/series readings of a day": f"/v1/series/{LONG}/readings?{day}",
        "/v1/series readings of a year, first page": f"/v1/series/{LONG}/readings?{year}",
        "/v1/readings of a town, first page": f"/v1/readings?area={TOWN}&{year}",
        "/v1/series buckets": f"/v1/series/{LONG}/buckets?width=P1D&{year}",
        "/v1/plot": f"/v1/plot?series={LONG}&{day}",
        "/v1/readings of a year as a file": f"/v1/readings?series={LONG}&{year}&format=arrow",
    }
    return {name: quote(path, safe="/?&=$();,':") for name, path in found.items()}


def compare(port: int, administrator: dict[str, str], area: dict[str, str], rounds: int) -> list[Compared]:
    """Ask each request by both keys, in turn, so many times."""
    found = []
    for name, path in paths().items():
        times: list[tuple[float, ...]] = []
        for at in range(-WARM, rounds):
            pair = [0.0, 0.0]
            for which in (0, 1) if at % 2 else (1, 0):
                pair[which] = _asked(port, path, (administrator, area)[which])
            if at >= 0:
                times.append(tuple(pair))
        by_administrator, by_area = np.array(times).T
        found.append(Compared(name, by_administrator, by_area))
    return found


def _asked(port: int, path: str, headers: dict[str, str]) -> float:
    """How long one answer takes, over a connection of its own (which costs both the same) [s]."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        began_s = time.perf_counter()
        client.sendall(request(path, headers | {"Connection": "close"}))
        with client.makefile("rb") as reader:
            first = reader.readline()
            assert b" 200 " in first, (path, first, reader.read()[-500:])
            while reader.read(1 << 20):
                pass
        return time.perf_counter() - began_s
