"""Maps a function over many histories on Dask: local threads, or a cluster by its address.

The compiled judge lets go of the interpreter's lock, so threads are enough on one machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

A = TypeVar("A")
B = TypeVar("B")

CONNECT_S = 10.0


class ClusterError(ValueError):
    """The cluster can't be used; the sentence says why."""


def each(
    function: Callable[[A], B],
    given: Sequence[A],
    *,
    cluster: str | None = None,
    done: Callable[[], None] = lambda: None,
) -> list[B]:
    """What the function says of each, in the order given.

    Parameters
    ----------
    function : known by its name to every worker of the cluster
    given : sent to the workers
    cluster : address of a Dask scheduler (``tcp://host:port``); without it, threads of this process
    done : called whenever one more is done

    Raises
    ------
    ClusterError
        Where no scheduler answers at the address within 10 s, no worker comes to it, or the workers give up.

    """
    return _on_threads(function, given, done) if cluster is None else _on(cluster, function, given, done)


def _on_threads(function: Callable[[A], B], given: Sequence[A], done: Callable[[], None]) -> list[B]:
    import dask  # noqa: PLC0415 - an extra that only backtests need

    def one(item: A) -> B:
        said = function(item)
        done()
        return said

    tasks = [dask.delayed(one, pure=False)(item) for item in given]  # type: ignore[attr-defined]
    return list(dask.compute(*tasks, scheduler="threads"))  # type: ignore[attr-defined,no-untyped-call]


def _on(cluster: str, function: Callable[[A], B], given: Sequence[A], done: Callable[[], None]) -> list[B]:
    import distributed  # noqa: PLC0415 - an extra that only backtests need

    try:
        client = distributed.Client(cluster, timeout=CONNECT_S)
    except (OSError, ValueError) as error:
        raise ClusterError(f"no Dask scheduler answers at {cluster}: {error}") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=CONNECT_S)
        except TimeoutError as error:
            raise ClusterError(f"the Dask scheduler at {cluster} has no worker: start one") from error
        try:
            futures = [client.submit(function, client.scatter(item), pure=False) for item in given]
            for _ in distributed.as_completed(futures):
                done()
            return list(client.gather(futures))
        except (OSError, ImportError, distributed.KilledWorker) as error:
            message = (
                f"the workers of {cluster} gave up: {error}; each needs this version of towntwin[backtest]"
            )
            raise ClusterError(message) from error
