"""Isolates failures of single items of a task (areas, sites, series) and retries them with backoff."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter, Gauge

from ingest_service.storage.contract.errors import StoreTimeoutError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ingest_service.storage.contract.models import Anomaly
    from ingest_service.storage.contract.store import Store

log = structlog.get_logger()

INITIAL_DELAY_S, MAX_DELAY_S = 10.0, 3600.0

ITEM_FAILURES = Counter(
    "towntwin_service_faults_total", "Items of a task that failed and were put off", ["task"]
)
DEFERRED_ITEMS = Gauge("towntwin_service_items_put_off", "Items of a task whose last try failed", ["task"])


class ItemBackoff:
    """The failed items of a task and the time of their next try; the delay doubles with each failure.

    Parameters
    ----------
    task : name in logs and metrics
    longest_wait_s : upper bound of the delay [s]
    clock : monotonic clock [s]

    """

    def __init__(
        self,
        task: str,
        *,
        longest_wait_s: float = MAX_DELAY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._task = task
        self._longest_wait_s = longest_wait_s
        self._clock = clock
        self._failed: dict[str, tuple[int, float]] = {}

    def is_deferred(self, key: str) -> bool:
        """Whether an item failed and is not due for another try yet."""
        return self._clock() < self._failed.get(key, (0, 0.0))[1]

    def deferred_items(self) -> set[str]:
        """Return all items that failed and are not due for another try yet."""
        return {key for key in self._failed if self.is_deferred(key)}

    def failed_items(self) -> set[str]:
        """Return all items whose last try failed."""
        return set(self._failed)

    def failed(self, key: str) -> bool:
        """Whether the last try of an item failed."""
        return key in self._failed

    def tries(self, key: str) -> int:
        """Return the number of failures of an item since its last success."""
        return self._failed.get(key, (0, 0.0))[0]

    def retry_now(self, key: str) -> None:
        """Make an item due at once, because the cause of its failure was found and is excluded."""
        self._failed.pop(key, None)

    @contextmanager
    def isolate(self, key: str) -> Iterator[None]:
        """Run the block for one item; its exception is logged, counted and not propagated.

        Raises
        ------
        StoreUnavailableError
            If the whole store is unavailable. A timeout of a single statement counts as the item's failure.

        """
        try:
            yield
        except Exception as error:
            if isinstance(error, StoreUnavailableError) and not isinstance(error, StoreTimeoutError):
                raise
            self._fail(key, error)
        else:
            self._failed.pop(key, None)
        DEFERRED_ITEMS.labels(self._task).set(len(self._failed))

    def _fail(self, key: str, error: Exception) -> None:
        tries = self.tries(key) + 1
        wait_s = min(self._longest_wait_s, INITIAL_DELAY_S * 2.0 ** min(tries - 1, 30))
        self._failed[key] = (tries, self._clock() + wait_s)
        ITEM_FAILURES.labels(self._task).inc()
        log.error(
            "item_failed",
            task=self._task,
            item=key,
            tries=tries,
            next_try_in_s=wait_s,
            exc_info=error,
        )


def record_or_defer(store: Store, items: ItemBackoff, anomalies: Sequence[Anomaly]) -> None:
    """Record anomalies together; if the store refuses them, one by one. Raises `StoreUnavailableError`."""
    try:
        store.record_anomalies(anomalies)
    except StoreUnavailableError:
        raise
    except Exception as error:  # noqa: BLE001 - the loop below finds and logs the refused ones
        log.warning("anomalies_refused", anomalies=len(anomalies), error=str(error).partition("\n")[0])
    else:
        return
    for one in anomalies:
        key = f"{one.subject} {one.start_s:.0f}"
        if not items.is_deferred(key):
            with items.isolate(key):
                store.record_anomalies([one])
