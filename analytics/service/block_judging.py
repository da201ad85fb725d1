"""Judges blocks of readings of several series: here, or on the workers of a Dask cluster."""

from __future__ import annotations

import time
from concurrent.futures import CancelledError
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import numpy as np
import structlog

from analytics.core import judge as core
from analytics.core.state import State
from analytics.quality import default_limits
from analytics.quality.anomaly_records import anomaly_from_event
from analytics.service.parallel import DaskClusterError, connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ingest_service.storage.contract.models import Anomaly, Series

log = structlog.get_logger()

RESULT_S: Final = 60.0  # the first block of a worker waits for the kernel to be compiled there
CONNECT_S: Final = 3.0  # the other tasks of the service wait meanwhile
RECONNECT_S: Final = 60.0


class BlockRequest(NamedTuple):
    """Readings of a series to judge with a fresh state: times ``(n,)`` [Unix s] and values ``(n,)``.

    ``judged_as`` has the limits to judge with, ``series`` is named in the anomalies.
    """

    series: Series
    judged_as: Series
    time_s: NDArray[np.float64]
    value: NDArray[np.float64]


class BlockJudgement(NamedTuple):
    """Flags ``(n,)`` and rules ``(n,)`` of a block, with later revisions applied, and its anomalies."""

    quality: NDArray[np.uint8]
    rules: NDArray[np.uint16]
    found_anomalies: list[Anomaly]


def judge_block(request: BlockRequest) -> BlockJudgement:
    """Judge the readings of a request as one block with a fresh state."""
    outcome = core.judge(
        State.empty(1),
        default_limits.judge_parameters([request.judged_as]),
        np.zeros(len(request.time_s), np.intp),
        request.time_s,
        request.value,
    )
    quality, rules = outcome.quality, outcome.rules
    at = np.searchsorted(request.time_s, outcome.revised_time_s)
    quality[at], rules[at] = outcome.revised_quality, outcome.revised_rules
    anomalies = [
        anomaly_from_event(request.series, outcome.events, i) for i in range(len(outcome.events.series))
    ]
    return BlockJudgement(quality, rules, anomalies)


def judge_on_worker(request: BlockRequest, version: str) -> BlockJudgement:
    """Judge as `judge_block`, on a worker, by the service's version of the judge.

    Raises
    ------
    DaskClusterError
        If this worker has another one, which would judge otherwise.

    """
    if version != core.VERSION:
        raise DaskClusterError(f"a worker has version {core.VERSION} of the judge, the service {version}")
    return judge_block(request)


class BlockJudge(Protocol):
    """Judges some blocks at a time, each under a key.

    Attributes
    ----------
    capacity : blocks that may be under way

    """

    capacity: int

    def submit(self, key: int, request: BlockRequest) -> None:
        """Begin to judge a block."""

    def next_judged(self) -> tuple[int, Callable[[], BlockJudgement]]:
        """Wait for one of the blocks under way; return its key and what returns or raises its outcome."""

    def forget(self) -> None:
        """Forget the blocks under way, at the end of a turn that failed."""


class LocalJudge:
    """Judges one block after the other in this process."""

    capacity = 1

    def __init__(self) -> None:
        self._under_way: dict[int, BlockRequest] = {}

    def submit(self, key: int, request: BlockRequest) -> None:
        """Begin to judge a block."""
        self._under_way[key] = request

    def next_judged(self) -> tuple[int, Callable[[], BlockJudgement]]:
        """Return the key of a block, and what judges it."""
        key, request = self._under_way.popitem()
        return key, partial(judge_block, request)

    def forget(self) -> None:
        """Forget the blocks under way."""
        self._under_way.clear()


class ClusterJudge:
    """Judges blocks on the workers of a Dask cluster, and here what they do not return.

    Blocks hold no state between each other, so one that a worker has lost is judged again elsewhere.

    Parameters
    ----------
    address : of the scheduler, ``tcp://host:port``

    Raises
    ------
    DaskClusterError
        If no scheduler answers there, it has no worker, or Dask is not installed.

    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._client = connect(address, CONNECT_S)
        # One block more than threads: the next one is on its way while they compute.
        self.capacity = sum(self._client.nthreads().values()) + 1
        self._under_way: dict[int, tuple[Any, BlockRequest]] = {}
        self.is_lost = False

    def submit(self, key: int, request: BlockRequest) -> None:
        """Send a block to the cluster; keep it until it is judged."""
        if not self.is_lost and self._client.status == "closed":  # it closes by itself without a scheduler
            self._lose(DaskClusterError("the connection to the scheduler ended"))
        future = None
        if not self.is_lost:
            future = self._client.submit(judge_on_worker, request, core.VERSION, pure=False)
        self._under_way[key] = future, request

    def next_judged(self) -> tuple[int, Callable[[], BlockJudgement]]:
        """Wait for a block that a worker has judged; return its key and its outcome.

        If none is judged within `RESULT_S`, or the cluster is lost, the outcome is computed here.
        """
        key = next(iter(self._under_way)) if self.is_lost else self._wait()
        future, request = self._under_way.pop(key)
        return key, partial(self._outcome, future, request)

    def forget(self) -> None:
        """Forget the blocks under way; their workers may still compute them."""
        self._under_way.clear()

    def close(self) -> None:
        """Disconnect."""
        self._client.close(timeout=1.0)

    def _wait(self) -> int:
        from distributed import wait  # noqa: PLC0415 - an extra that only backtests and clusters need

        futures = [future for future, _ in self._under_way.values()]
        try:
            with self._client.as_current():
                wait(futures, timeout=RESULT_S, return_when="FIRST_COMPLETED")
        except (OSError, TimeoutError, CancelledError) as error:
            self._lose(error)
        return next(
            (key for key, (future, _) in self._under_way.items() if future.done()),
            next(iter(self._under_way)),
        )

    def _outcome(self, future: Any, request: BlockRequest) -> BlockJudgement:
        from distributed import KilledWorker  # noqa: PLC0415 - as above

        if not self.is_lost:
            try:
                found: BlockJudgement = future.result()
            except (OSError, ImportError, CancelledError, KilledWorker, DaskClusterError) as error:
                self._lose(error)
            else:
                return found
        return judge_block(request)

    def _lose(self, error: Exception) -> None:
        self.is_lost = True
        log.warning(
            "rejudge_cluster_lost",
            cluster=self._address,
            error=str(error) or type(error).__name__,
            remedy="series are judged here; see that scheduler and workers run with this version of towntwin",
        )


class JudgeChoice:
    """Returns where to judge: on the cluster while it answers, else here."""

    def __init__(self) -> None:
        self._cluster: ClusterJudge | None = None
        self._retry_s = 0.0

    def judge(self, address: str) -> BlockJudge:
        """Return the judge for a turn of work; ``address`` is empty for none but this process."""
        if self._cluster is not None and self._cluster.is_lost:
            self._cluster.close()
            self._cluster, self._retry_s = None, time.monotonic() + RECONNECT_S
        if address and self._cluster is None and time.monotonic() >= self._retry_s:
            try:
                self._cluster = ClusterJudge(address)
            except DaskClusterError as error:
                self._retry_s = time.monotonic() + RECONNECT_S
                log.warning("rejudge_cluster_unavailable", error=str(error), next_try_in_s=RECONNECT_S)
        return self._cluster or LocalJudge()

    def close(self) -> None:
        """Disconnect from the cluster."""
        if self._cluster is not None:
            self._cluster.close()
            self._cluster = None
