"""The main queries by API and by SQL, in turn, so that both meet the same machine."""

from __future__ import annotations

import random
import socket
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from benchmarks._api_load import request
from benchmarks._filled import END_US, QUANTITIES, SITES, STATEMENTS, TOWNS
from ingest_service.storage import rollups
from ingest_service.storage.answers import Question, parameters
from ingest_service.storage.sql import QUERIES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from psycopg import Connection

WARM = 20
DAY_US = 86_400_000_000


class Query(NamedTuple):
    """One of the main queries: a path of the API, and the same in SQL; each time of another place."""

    name: str
    path: Callable[[random.Random], str]
    sql: Callable[[random.Random, Connection[Any]], int]


class Measured(NamedTuple):
    """Seconds each time (n,)."""

    name: str
    api_s: NDArray[np.float64]
    sql_s: NDArray[np.float64]

    def ratio(self, quantile: float) -> float:
        """API over SQL."""
        return float(np.quantile(self.api_s, quantile) / np.quantile(self.sql_s, quantile))


def compare(
    port: int, headers: dict[str, str], connection: Connection[Any], queries: list[Query], rounds: int
) -> list[Measured]:
    """Ask all of them so many times; both sides find the same (and one row more)."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=120) as client,
        client.makefile("rb") as reader,
    ):

        def ask(path: str) -> bytes:
            client.sendall(request(path, headers))
            head = iter(reader.readline, b"\r\n")
            assert b" 200 " in next(head), path
            (length,) = [line[15:] for line in head if line.lower().startswith(b"content-length:")]
            return reader.read(int(length))

        return [_compared(query, ask, connection, rounds) for query in queries]


def _compared(
    query: Query, ask: Callable[[str], bytes], connection: Connection[Any], rounds: int
) -> Measured:
    times: list[tuple[float, float]] = []
    for at in range(-WARM, rounds):
        path = query.path(random.Random(at))
        began_s = time.perf_counter()
        body = ask(path)
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
    return Measured(query.name, api, sql)


def _anomalies(question: Callable[[random.Random], Question]) -> Callable[..., int]:
    def run(chance: random.Random, connection: Connection[Any]) -> int:
        with connection.cursor(binary=True) as cursor:
            asked = parameters(question(chance))
            return len(cursor.execute(QUERIES["anomalies_now"], asked, prepare=False).fetchall())

    return run


def _sites(town: int) -> list[str]:
    return [f"site-{at:03}" for at in range(SITES) if at % TOWNS == town]


def _month(chance: random.Random) -> tuple[int, int]:
    """Within the newest 90 days [us]."""
    to_us = END_US - chance.randrange(60) * DAY_US
    return to_us - 30 * DAY_US, to_us


def _day(chance: random.Random) -> tuple[int, int]:
    to_us = END_US - chance.randrange(60) * DAY_US
    return to_us - DAY_US, to_us


def _word(time_us: int) -> str:
    return f"{np.datetime64(time_us, 'us').astype('datetime64[s]')}Z"


def _span(span: tuple[int, int]) -> str:
    return f"from={_word(span[0])}&to={_word(span[1])}"


def _seconds(span: tuple[int, int]) -> dict[str, float]:
    return {"from_s": span[0] / 1e6, "to_s": span[1] / 1e6}


def _readings(series: Callable[[random.Random], int]) -> Callable[..., int]:
    def run(chance: random.Random, connection: Connection[Any]) -> int:
        asked = {"series_id": series(chance), **_seconds(_day(chance)), "limit": 1001}
        return len(connection.execute(STATEMENTS["readings"], asked).fetchall())

    return run


def _buckets(series: Callable[[random.Random], int]) -> Callable[..., int]:
    def run(chance: random.Random, connection: Connection[Any]) -> int:
        series_id, (from_us, to_us) = series(chance), _month(chance)
        zone = ZoneInfo("Asia/Shanghai")
        return len(rollups.buckets(connection, series_id, from_us / 1e6, to_us / 1e6, 3600, zone=zone))

    return run


def of_towns(towns: Sequence[int]) -> list[Query]:
    """The main queries about some towns; the one about the county only where they are all."""

    def town(chance: random.Random) -> int:
        return chance.choice(towns)

    def series(chance: random.Random) -> int:
        site = chance.choice([at for at in range(SITES) if at % TOWNS in towns])
        return 1 + len(QUANTITIES) * site + chance.randrange(len(QUANTITIES))

    return [
        Query(
            "anomalies of a town, newest 100",
            lambda chance: f"/v1/anomalies?area=330400-t{town(chance)}",
            _anomalies(lambda chance: Question(site_ids=_sites(town(chance)), limit=101)),
        ),
        *([COUNTY] if len(towns) == TOWNS else []),
        Query(
            "open anomalies of a town",
            lambda chance: f"/v1/anomalies?area=330400-t{town(chance)}&state=open&limit=200",
            _anomalies(lambda chance: Question(site_ids=_sites(town(chance)), states=["open"], limit=201)),
        ),
        Query(
            "anomalies of a site by text in a month",
            lambda chance: (
                f"/v1/anomalies?site={_sites(town(chance))[3]}&text=turbidity&{_span(_month(chance))}"
            ),
            _anomalies(
                lambda chance: Question(
                    site_ids=[_sites(town(chance))[3]],
                    text="turbidity",
                    limit=101,
                    **_seconds(_month(chance)),
                )
            ),
        ),
        Query(
            "a day of a series, raw",
            lambda chance: f"/v1/series/{series(chance)}/readings?{_span(_day(chance))}",
            _readings(series),
        ),
        Query(
            "a month of a series in hours",
            lambda chance: f"/v1/series/{series(chance)}/buckets?width=PT1H&{_span(_month(chance))}",
            _buckets(series),
        ),
    ]


COUNTY = Query(
    "alarms of a county in a month, 1,000",
    lambda chance: f"/v1/anomalies?area=330400&severity_min=3&limit=1000&{_span(_month(chance))}",
    _anomalies(
        lambda chance: Question(
            site_ids=[f"site-{at:03}" for at in range(SITES)],
            severity_min=3,
            limit=1001,
            **_seconds(_month(chance)),
        )
    ),
)
