"""Runs a task item by item (areas, sites, series, months): one that fails is retried later, alone."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import structlog
from prometheus_client import Counter, Gauge

from ingest_service.storage.contract.errors import StoreTimeoutError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ingest_service.storage.contract.models import Anomaly
    from ingest_service.storage.contract.store import Store

log = structlog.get_logger()

INITIAL_DELAY_S, MAX_DELAY_S = 10.0, 3600.0

FAULTS = Counter("towntwin_service_faults_total", "Items of a task that failed and were put off", ["task"])
PUT_OFF = Gauge("towntwin_service_items_put_off", "Items of a task whose last try failed", ["task"])


class ItemBackoff:
    """Which items of a task failed, and until when each is left alone: twice as long after each failure.

    Parameters
    ----------
    task : as it is named in logs and metrics
    longest_wait_s : that an item is put off [s]
    clock : monotonic [s]

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
        """Whether an item failed and is not to be tried again yet."""
        return self._clock() < self._failed.get(key, (0, 0.0))[1]

    def deferred_items(self) -> set[str]:
        """All items that failed and are not to be tried again yet."""
        return {key for key in self._failed if self.is_deferred(key)}

    def failed_items(self) -> set[str]:
        """All items whose last try failed."""
        return set(self._failed)

    def failed(self, key: str) -> bool:
        """Whether the last try of an item failed."""
        return key in self._failed

    def tries(self, key: str) -> int:
        """How often an item failed since it last went well."""
        return self._failed.get(key, (0, 0.0))[0]

    def retry_now(self, key: str) -> None:
        """Try an item again at once: what made it fail is known and left out."""
        self._failed.pop(key, None)

    @contextmanager
    def isolate(self, key: str) -> Iterator[None]:
        """Work at one item: its exception is logged, counted and ends here.

        Raises
        ------
        StoreUnavailable
            Where waiting may help; a statement that takes too long is the item's own fault, though.

        """
        try:
            yield
        except Exception as error:
            if isinstance(error, StoreUnavailableError) and not isinstance(error, StoreTimeoutError):
                raise
            self._fail(key, error)
        else:
            self._failed.pop(key, None)
        PUT_OFF.labels(self._task).set(len(self._failed))

    def _fail(self, key: str, error: Exception) -> None:
        tries = self.tries(key) + 1
        wait_s = min(self._longest_wait_s, INITIAL_DELAY_S * 2.0 ** min(tries - 1, 30))
        self._failed[key] = (tries, self._clock() + wait_s)
        FAULTS.labels(self._task).inc()
        log.error(
            "item_failed",
            task=self._task,
            item=key,
            tries=tries,
            next_try_in_s=wait_s,
            exc_info=error,
        )


_backoffs: WeakKeyDictionary[Store, dict[str, ItemBackoff]] = WeakKeyDictionary()


def backoff_of(store: Store, task: str, *, longest_wait_s: float = MAX_DELAY_S) -> ItemBackoff:
    """The items of a task at a store; the same as long as the process lives."""
    backoffs_of_store = _backoffs.setdefault(store, {})
    if task not in backoffs_of_store:
        backoffs_of_store[task] = ItemBackoff(task, longest_wait_s=longest_wait_s)
    return backoffs_of_store[task]


def record_or_defer(store: Store, items: ItemBackoff, anomalies: Sequence[Anomaly]) -> None:
    """Record anomalies together; where the store refuses that, one by one. Raises `StoreUnavailableError`."""
    try:
        store.record_anomalies(anomalies)
    except StoreUnavailableError:
        raise
    except Exception as error:  # noqa: BLE001 - which of them it is, the next lines find and log
        log.warning("anomalies_refused", anomalies=len(anomalies), error=str(error).partition("\n")[0])
    else:
        return
    for one in anomalies:
        key = f"{one.subject} {one.start_s:.0f}"
        if not items.is_deferred(key):
            with items.isolate(key):
                store.record_anomalies([one])
