"""Client of a towntwin gateway's HTTP API that returns readings and anomalies as data frames.

    from towntwin.client import Client

    with Client("http://127.0.0.1:8080") as town:
        found = town.anomalies(area="330483", quantity="ammonia_nitrogen", severity_min=2)
        oxygen = town.readings(site="330483-d1-r04", quantity="dissolved_oxygen")

Tables are transferred as Arrow. ``frame`` selects their type: ``pandas``, ``polars`` or ``arrow``.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import httpx
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

Frame = Literal["pandas", "polars", "arrow"]
TimeArgument = datetime | str
PAGE_ROWS = 10_000
SNAPSHOT_HEADER = "Towntwin-Reproduce"
MAX_TRIES = 5
DEFAULT_RETRY_S = 1.0
RETRIED_STATUSES = {httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.TOO_MANY_REQUESTS}


class ClientError(Exception):
    """An error response of the gateway: HTTP ``status``, and the gateway's sentence."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Client:
    """Queries a gateway over a persistent connection. Methods raise `ClientError` and `httpx.TransportError`.

    Raises ValueError where ``frame`` is unknown.

    Parameters
    ----------
    address : base URL, as ``http://127.0.0.1:8080``
    key : API key
    frame : type of returned tables: ``pandas``, ``polars`` or ``arrow``
    timeout_s : of each step of a response (connect, read, write), not of the whole [s]

    """

    def __init__(
        self, address: str, *, key: str | None = None, frame: Frame = "pandas", timeout_s: float = 60.0
    ) -> None:
        if frame not in get_args(Frame):
            raise ValueError(f"frame {frame!r}: give one of {', '.join(get_args(Frame))}")
        headers = {"Accept": "application/vnd.apache.arrow.stream, application/json;q=0.5"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        self._http = httpx.Client(base_url=address, headers=headers, timeout=timeout_s)
        self._frame = frame
        self.token: str | None = None
        """Snapshot token of the last response: given as ``reproduce``, it returns the same rows again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def sites(self, *, area: str | None = None, kind: str | None = None) -> list[dict[str, Any]]:
        """Return sites, by area (with all below it) and kind."""
        result: list[dict[str, Any]] = self._get("/v1/sites", {"area": area, "kind": kind}).json()
        return result

    def series(
        self, *, area: str | None = None, site: str | None = None, quantity: str | None = None
    ) -> list[dict[str, Any]]:
        """Return series, by area (with all below it), site and quantity."""
        params = {"area": area, "site": site, "quantity": quantity}
        result: list[dict[str, Any]] = self._get("/v1/series", params).json()
        return result

    def anomalies(
        self,
        *,
        area: str | None = None,
        site: str | None = None,
        near: str | None = None,
        within_m: float | None = None,
        within_s: float | None = None,
        direction: Literal["up", "down", "both"] | None = None,
        series: Sequence[int] | int | None = None,
        quantity: str | None = None,
        detector: Sequence[str] | str | None = None,
        state: Sequence[str] | str | None = None,
        severity_min: int | None = None,
        severity_max: int | None = None,
        text: str | None = None,
        from_: TimeArgument | None = None,
        to: TimeArgument | None = None,
        reproduce: str | None = None,
    ) -> Any:
        """Return anomalies, newest start first, of all pages, by the filters of ``GET /v1/anomalies``.

        Parameters
        ----------
        area, site : ids; an area includes all areas below it
        near : id of a site or node, from which ``within_m`` [m] and ``within_s`` [s] bound distance and
            travel time along the network, in ``direction``
        series, quantity : ids of series, and a quantity
        detector, state : one or several
        severity_min, severity_max : 1 notice, 2 warning, 3 alarm
        text : part of the reason, Chinese or English
        from_, to : time range ``[from_, to)`` in which the anomalies were open
        reproduce : a `token`, to receive the same rows again

        """
        params = {
            "area": area,
            "site": site,
            "near": near,
            "within_m": within_m,
            "within_s": within_s,
            "direction": direction,
            "series": series,
            "quantity": quantity,
            "detector": detector,
            "state": state,
            "severity_min": severity_min,
            "severity_max": severity_max,
            "text": text,
            "from": _time_text(from_),
            "to": _time_text(to),
            "reproduce": reproduce,
            "limit": PAGE_ROWS,
        }
        answer = self._get("/v1/anomalies", params)
        token, pages = answer.headers[SNAPSHOT_HEADER], [_read_arrow(answer)]
        while "next" in answer.links:
            # with the first page's token, all pages are of one snapshot
            url = self._http.base_url.join(answer.links["next"]["url"]).copy_set_param("reproduce", token)
            answer = self._get(str(url), {})
            pages.append(_read_arrow(answer))
        self.token = token
        return self._to_frame(pa.concat_tables(pages))

    def readings(
        self,
        *,
        series: Sequence[int] | int | None = None,
        area: str | None = None,
        site: str | None = None,
        quantity: str | None = None,
        from_: TimeArgument | None = None,
        to: TimeArgument | None = None,
        reproduce: str | None = None,
    ) -> Any:
        """Return readings by ``series``, ``area``, ``site`` and ``quantity``, by default of the last day."""
        params = {
            "series": series,
            "area": area,
            "site": site,
            "quantity": quantity,
            "from": _time_text(from_),
            "to": _time_text(to),
            "reproduce": reproduce,
        }
        return self._query_table("/v1/readings", params)

    def plot(
        self,
        series: Sequence[int] | int,
        *,
        from_: TimeArgument | None = None,
        to: TimeArgument | None = None,
        points: int = 800,
        method: Literal["lttb", "minmax"] = "lttb",
        reproduce: str | None = None,
    ) -> Any:
        """Return series downsampled for a plot: at most ``points`` stored readings of each."""
        query = {"series": series, "points": points, "method": method, "reproduce": reproduce}
        return self._query_table("/v1/plot", query | {"from": _time_text(from_), "to": _time_text(to)})

    def buckets(
        self,
        series: int,
        width: str,
        *,
        from_: TimeArgument | None = None,
        to: TimeArgument | None = None,
        reproduce: str | None = None,
    ) -> Any:
        """Return a series in buckets of a width (ISO 8601) such as ``PT1H`` or ``P1D`` (local days)."""
        query = {"width": width, "from": _time_text(from_), "to": _time_text(to), "reproduce": reproduce}
        return self._query_table(f"/v1/series/{series}/buckets", query)

    def latest(self, *, area: str | None = None, site: str | None = None, quantity: str | None = None) -> Any:
        """Return the newest reading of each series with its age, by ``area``, ``site`` and ``quantity``."""
        params = {"area": area, "site": site, "quantity": quantity}
        return self._to_frame(_read_arrow(self._get("/v1/latest", params)))

    def trace(
        self, anomaly_id: int, *, window_hours: float | None = None, posterior: bool = False
    ) -> dict[str, Any]:
        """Return the upstream nodes that may have caused an anomaly on the river, and when.

        With ``posterior``, outfalls have probabilities from concentrations, under the key of that name.
        """
        path = f"/v1/anomalies/{anomaly_id}/trace"
        query = {"window_hours": window_hours, "posterior": True if posterior else None}
        result: dict[str, Any] = self._get(path, query).json()
        return result

    def _query_table(self, path: str, query: dict[str, Any]) -> Any:
        answer = self._get(path, query)
        self.token = answer.headers[SNAPSHOT_HEADER]
        return self._to_frame(_read_arrow(answer))

    def _get(self, path: str, query: dict[str, Any]) -> httpx.Response:
        """Send a GET request; on 429 and 503 retry a few times, after the gateway's ``Retry-After``."""
        params = {name: value for name, value in query.items() if value is not None} or None
        for tries_left in reversed(range(MAX_TRIES)):
            answer = self._http.get(path, params=params)
            if answer.status_code not in RETRIED_STATUSES or not tries_left:
                break
            time.sleep(float(answer.headers.get("Retry-After", DEFAULT_RETRY_S)))
        if answer.is_error:
            is_problem = answer.headers.get("content-type", "").endswith("json")
            raise ClientError(answer.status_code, answer.json()["detail"] if is_problem else answer.text)
        return answer

    def _to_frame(self, table: pa.Table) -> Any:
        if self._frame == "arrow":
            return table
        if self._frame == "polars":
            import polars as pl  # noqa: PLC0415 - needed, and installed, for this frame only

            return pl.from_arrow(table)
        return table.to_pandas()


def _read_arrow(answer: httpx.Response) -> pa.Table:
    return pa.ipc.open_stream(answer.content).read_all()


def _time_text(time_argument: TimeArgument | None) -> str | None:
    if isinstance(time_argument, datetime):
        if time_argument.tzinfo is None:
            raise ValueError(f"{time_argument}: give the time with its offset")
        return time_argument.isoformat()
    return time_argument
