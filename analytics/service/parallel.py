"""Connects to a Dask cluster, and maps a function over the histories of a backtest.

The compiled judge releases the GIL, so threads are enough on one machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from analytics.errors import AnalyticsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

A = TypeVar("A")
B = TypeVar("B")

CONNECT_S = 10.0


class DaskClusterError(AnalyticsError, ValueError):
    """The cluster can't be used; the message gives the reason."""


def map_in_parallel(
    function: Callable[[A], B],
    inputs: Sequence[A],
    *,
    cluster: str | None = None,
    on_item_done: Callable[[], None] = lambda: None,
) -> list[B]:
    """Return the function's results, in the order of the inputs.

    Parameters
    ----------
    function : importable by name on every worker of the cluster
    inputs : sent to the workers
    cluster : address of a Dask scheduler (``tcp://host:port``); without it, threads of this process are used
    on_item_done : called after each input

    Raises
    ------
    DaskClusterError
        If no scheduler responds at the address within 10 s, it has no worker, or the workers fail.

    """
    return (
        _map_on_threads(function, inputs, on_item_done)
        if cluster is None
        else _map_on_cluster(cluster, function, inputs, on_item_done)
    )


def connect(cluster: str, within_s: float | None = None) -> Any:
    """Return a client of a cluster that has a worker, within `CONNECT_S` or another time [s].

    Raises
    ------
    DaskClusterError
        If there is none, or Dask is not installed.

    """
    within_s = CONNECT_S if within_s is None else within_s
    try:
        import distributed  # noqa: PLC0415 - an extra that only backtests need
    except ImportError as error:
        raise DaskClusterError(f"for the cluster {cluster}: install towntwin[backtest]") from error
    try:
        client = distributed.Client(cluster, timeout=within_s, set_as_default=False)
    except (OSError, ValueError) as error:
        raise DaskClusterError(f"no Dask scheduler answers at {cluster}: {error}") from error
    try:
        client.wait_for_workers(1, timeout=within_s)
    except TimeoutError as error:
        client.close()
        raise DaskClusterError(f"the Dask scheduler at {cluster} has no worker: start one") from error
    return client


def _map_on_threads(
    function: Callable[[A], B], inputs: Sequence[A], on_item_done: Callable[[], None]
) -> list[B]:
    import dask  # noqa: PLC0415 - an extra that only backtests need

    def one(item: A) -> B:
        result = function(item)
        on_item_done()
        return result

    tasks = [dask.delayed(one, pure=False)(item) for item in inputs]  # type: ignore[attr-defined]
    return list(dask.compute(*tasks, scheduler="threads"))  # type: ignore[attr-defined,no-untyped-call]


def _map_on_cluster(
    cluster: str, function: Callable[[A], B], inputs: Sequence[A], on_item_done: Callable[[], None]
) -> list[B]:
    client = connect(cluster)
    import distributed  # noqa: PLC0415 - an extra that only backtests need

    with client, client.as_current():
        try:
            futures = [client.submit(function, client.scatter(item), pure=False) for item in inputs]
            for _ in distributed.as_completed(futures):
                on_item_done()
            return list(client.gather(futures))
        except (OSError, ImportError, distributed.KilledWorker) as error:
            message = (
                f"the workers of {cluster} gave up: {error}; each needs this version of towntwin[backtest]"
            )
            raise DaskClusterError(message) from error
