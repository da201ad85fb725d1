"""Compares the times of the main queries by API and by SQL, alternating so that machine load affects both."""

from __future__ import annotations

import random
import socket
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from benchmarks._api_load import request
from benchmarks._filled_database import END_US, QUANTITIES, SITES, STATEMENTS, TOWNS
from ingest_service.storage.contract.models import AnomalyQuery
from ingest_service.storage.postgres import rollups
from ingest_service.storage.postgres.named_queries import QUERIES
from ingest_service.storage.postgres.read_rows import anomaly_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from psycopg import Connection

WARM_UP_ROUNDS = 20
DAY_US = 86_400_000_000


class ComparedQuery(NamedTuple):
    """One query as an API path and as SQL; each call uses another random site and time."""

    name: str
    path: Callable[[random.Random], str]
    sql: Callable[[random.Random, Connection[Any]], int]


class QueryTimes(NamedTuple):
    """Times (n,) of one query by API and by SQL [s]."""

    name: str
    api_s: NDArray[np.float64]
    sql_s: NDArray[np.float64]

    def ratio(self, quantile: float) -> float:
        """Return a quantile of the API's times over that of the SQL's times."""
        return float(np.quantile(self.api_s, quantile) / np.quantile(self.sql_s, quantile))


def compare_queries(
    port: int, headers: dict[str, str], connection: Connection[Any], queries: list[ComparedQuery], rounds: int
) -> list[QueryTimes]:
    """Time each query ``rounds`` times; both sides must give the same rows (SQL may give one more)."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=120) as client,
        client.makefile("rb") as reader,
    ):

        def get_body(path: str) -> bytes:
            client.sendall(request(path, headers))
            head = iter(reader.readline, b"\r\n")
            assert b" 200 " in next(head), path
            (length,) = [line[15:] for line in head if line.lower().startswith(b"content-length:")]
            return reader.read(int(length))

        return [_compare_query(query, get_body, connection, rounds) for query in queries]


def _compare_query(
    query: ComparedQuery, get_body: Callable[[str], bytes], connection: Connection[Any], rounds: int
) -> QueryTimes:
    times: list[tuple[float, float]] = []
    for at in range(-WARM_UP_ROUNDS, rounds):
        path = query.path(random.Random(at))
        began_s = time.perf_counter()
        body = get_body(path)
        api_s = time.perf_counter() - began_s
        began_s = time.perf_counter()
        rows = query.sql(random.Random(at), connection)
        connection.commit()
        sql_s = time.perf_counter() - began_s
        if at < 0:
            found = msgspec.json.decode(body)
            shown = len(found["items"] if isinstance(found, dict) else found)
            assert rows - 1 <= shown <= rows, (path, shown, rows)
        else:
            times.append((api_s, sql_s))
    api, sql = np.array(times).T
    return QueryTimes(query.name, api, sql)


def _anomalies(anomaly_query: Callable[[random.Random], AnomalyQuery]) -> Callable[..., int]:
    def run(random_source: random.Random, connection: Connection[Any]) -> int:
        with connection.cursor(binary=True) as cursor:
            query_parameters = anomaly_parameters(anomaly_query(random_source))
            return len(cursor.execute(QUERIES["anomalies_now"], query_parameters, prepare=False).fetchall())

    return run


def _sites(town: int) -> list[str]:
    return [f"site-{at:03}" for at in range(SITES) if at % TOWNS == town]


def _month(random_source: random.Random) -> tuple[int, int]:
    """Return a month within the newest 90 days [us]."""
    to_us = END_US - random_source.randrange(60) * DAY_US
    return to_us - 30 * DAY_US, to_us


def _day(random_source: random.Random) -> tuple[int, int]:
    to_us = END_US - random_source.randrange(60) * DAY_US
    return to_us - DAY_US, to_us


def _iso_time(time_us: int) -> str:
    return f"{np.datetime64(time_us, 'us').astype('datetime64[s]')}Z"


def _range_parameters(span: tuple[int, int]) -> str:
    return f"from={_iso_time(span[0])}&to={_iso_time(span[1])}"


def _seconds(span: tuple[int, int]) -> dict[str, float]:
    return {"from_s": span[0] / 1e6, "to_s": span[1] / 1e6}


def _readings(series: Callable[[random.Random], int]) -> Callable[..., int]:
    def run(random_source: random.Random, connection: Connection[Any]) -> int:
        query_parameters = {
            "series_id": series(random_source),
            **_seconds(_day(random_source)),
            "limit": 1001,
        }
        return len(connection.execute(STATEMENTS["readings"], query_parameters).fetchall())

    return run


def _buckets(series: Callable[[random.Random], int]) -> Callable[..., int]:
    def run(random_source: random.Random, connection: Connection[Any]) -> int:
        series_id, (from_us, to_us) = series(random_source), _month(random_source)
        zone = ZoneInfo("Asia/Shanghai")
        return len(rollups.read_buckets(connection, series_id, from_us / 1e6, to_us / 1e6, 3600, zone=zone))

    return run


def town_queries(towns: Sequence[int]) -> list[ComparedQuery]:
    """Return the main queries on the given towns; with all towns, also the one on the county."""

    def town(random_source: random.Random) -> int:
        return random_source.choice(towns)

    def series(random_source: random.Random) -> int:
        site = random_source.choice([at for at in range(SITES) if at % TOWNS in towns])
        return 1 + len(QUANTITIES) * site + random_source.randrange(len(QUANTITIES))

    return [
        ComparedQuery(
            "anomalies of a town, newest 100",
            lambda random_source: f"/v1/anomalies?area=330400-t{town(random_source)}",
            _anomalies(lambda random_source: AnomalyQuery(site_ids=_sites(town(random_source)), limit=101)),
        ),
        *([COUNTY] if len(towns) == TOWNS else []),
        ComparedQuery(
            "open anomalies of a town",
            lambda random_source: f"/v1/anomalies?area=330400-t{town(random_source)}&state=open&limit=200",
            _anomalies(
                lambda random_source: AnomalyQuery(
                    site_ids=_sites(town(random_source)), states=["open"], limit=201
                )
            ),
        ),
        ComparedQuery(
            "anomalies of a site by text in a month",
            lambda random_source: (
                f"/v1/anomalies?site={_sites(town(random_source))[3]}&text=turbidity&{_range_parameters(_month(random_source))}"
            ),
            _anomalies(
                lambda random_source: AnomalyQuery(
                    site_ids=[_sites(town(random_source))[3]],
                    text="turbidity",
                    limit=101,
                    **_seconds(_month(random_source)),
                )
            ),
        ),
        ComparedQuery(
            "a day of a series, raw",
            lambda random_source: (
                f"/v1/series/{series(random_source)}/readings?{_range_parameters(_day(random_source))}"
            ),
            _readings(series),
        ),
        ComparedQuery(
            "a month of a series in hours",
            lambda random_source: (
                f"/v1/series/{series(random_source)}/buckets?width=PT1H&{_range_parameters(_month(random_source))}"
            ),
            _buckets(series),
        ),
    ]


COUNTY = ComparedQuery(
    "alarms of a county in a month, 1,000",
    lambda random_source: (
        f"/v1/anomalies?area=330400&severity_min=3&limit=1000&{_range_parameters(_month(random_source))}"
    ),
    _anomalies(
        lambda random_source: AnomalyQuery(
            site_ids=[f"site-{at:03}" for at in range(SITES)],
            severity_min=3,
            limit=1001,
            **_seconds(_month(random_source)),
        )
    ),
)
