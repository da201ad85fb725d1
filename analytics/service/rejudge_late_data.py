"""Judges a series again over the time range that late readings affect; corrects its flags and anomalies.

A series is judged as one block with a fresh state, starting with a warm-up before its first late reading,
with all readings in the order of their measured time, here or on a Dask cluster
(`analytics.service.block_judging`). The state of the live shard is not changed
(docs/decisions/0007-late-data.md).
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec
import numpy as np
import structlog
from prometheus_client import Counter

from analytics.core import events
from analytics.core.baseline import WARM_UP_READINGS
from analytics.core.flags import Flag, Rule
from analytics.quality import anomaly_text, default_limits
from analytics.service.anomaly_corrections import AnomalyCorrections, RejudgedRange, correct_anomalies
from analytics.service.block_judging import BlockJudgement, BlockRequest, judge_block
from analytics.service.service_state import ServiceState
from analytics.service.time_slice import UNLIMITED
from ingest_service.storage.contract.errors import StoreRefusedError
from ingest_service.storage.contract.explanations import as_judged
from ingest_service.storage.contract.models import REVISION, AnomalyQuery
from ingest_service.storage.contract.paging import all_anomalies

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from analytics.service.block_judging import BlockJudge
    from analytics.service.item_backoff import ItemBackoff
    from analytics.service.settings import Settings
    from analytics.service.time_slice import TimeSlice
    from ingest_service.storage.contract.models import Anomaly, LateReadings, Series
    from ingest_service.storage.contract.store import Store

log = structlog.get_logger()

DAY_S = 86_400.0
UNJUDGED_RULES = Rule.LATE | Rule.UNJUDGED
MAX_DOUBLINGS = 8  # from five minutes to a day
NEW_SENSOR_READINGS = 10  # first readings of a block, one of which is in live warm-up if the sensor was new
REACH_FACTOR = 4.0  # by which the range is extended while an event in it has not ended

REJUDGED = Counter(
    "towntwin_service_rejudged_series_total", "Series with late readings that were judged again"
)
CORRECTED = Counter("towntwin_service_corrected_total", "What judging again changed", ["what"])


class RejudgedBlock(NamedTuple):
    """A series' readings, READING ``(n,)``, and their new flags ``(n,)``, rules ``(n,)`` and anomalies.

    ``rest_from_s`` is where the next piece begins [Unix s]; None if this is the last one.
    """

    rows: NDArray[np.void]
    quality: NDArray[np.uint8]
    rules: NDArray[np.uint16]
    found_anomalies: list[Anomaly]
    rest_from_s: float | None = None


class PieceCorrections(NamedTuple):
    """Changes from judging a series again: REVISION rows, anomalies, and where the next piece begins."""

    revisions: NDArray[np.void]
    changed: AnomalyCorrections
    rest_from_s: float | None


T = TypeVar("T")
Steps = Generator[BlockRequest, BlockJudgement, T]
"""Steps of judging a series again: each yields readings to judge and is sent their judgement."""


def rejudge(
    store: Store,
    settings: Settings,
    time_slice: TimeSlice = UNLIMITED,
    service_state: ServiceState | None = None,
) -> None:
    """Judge a limited number of series with late readings again, longest waiting first."""
    service_state = service_state or ServiceState()
    series_backoff = service_state.backoff("rejudge")
    deferred_items = series_backoff.deferred_items()
    due = store.late_readings_due(limit=settings.rejudge_series + len(deferred_items))
    due = [one for one in due if str(one.series_id) not in deferred_items]
    if not due:
        return
    _Turn(store, settings, service_state.judge_choice.judge(settings.rejudge_cluster), series_backoff).run(
        due, time_slice
    )


class _Turn:
    """One turn of judging series again; as many are under way as the judge has capacity for.

    What a series needs of the database is read and written here, one series at a time.
    """

    def __init__(
        self, store: Store, settings: Settings, judge: BlockJudge, series_backoff: ItemBackoff
    ) -> None:
        self._store, self._settings, self._judge, self._backoff = store, settings, judge, series_backoff
        self._under_way: dict[int, tuple[LateReadings, Steps[PieceCorrections]]] = {}

    def run(self, due: Sequence[LateReadings], time_slice: TimeSlice) -> None:
        """Judge the series again that are begun within the time slice."""
        series = {one.series_id: one for one in self._store.directory().series}
        waiting = list(reversed(due))
        try:
            while True:
                while waiting and len(self._under_way) < self._judge.capacity and not time_slice.is_over:
                    self._begin(waiting.pop(), series)
                if not self._under_way:
                    return
                self._advance(*self._judge.next_judged())
        finally:
            self._judge.forget()

    def _begin(self, late: LateReadings, series: Mapping[int, Series]) -> None:
        key = str(late.series_id)
        with self._backoff.isolate(key):
            steps = _find_piece_corrections(
                self._store, self._settings, late, series[late.series_id], now_s=time.time()
            )
            self._judge.submit(late.series_id, next(steps))
            self._under_way[late.series_id] = late, steps
        self._defer_if_failed(late)

    def _advance(self, series_id: int, judged: Callable[[], BlockJudgement]) -> None:
        late, steps = self._under_way.pop(series_id)
        with self._backoff.isolate(str(series_id)):
            try:
                request = steps.send(judged())
            except StopIteration as end:
                _store_corrections(self._store, self._settings, late, end.value)
            else:
                self._judge.submit(series_id, request)
                self._under_way[series_id] = late, steps
        self._defer_if_failed(late)

    def _defer_if_failed(self, late: LateReadings) -> None:
        if self._backoff.failed(key := str(late.series_id)):
            tries = self._backoff.tries(key)
            _defer_series(
                self._store, late, self._settings.rejudge_again_s * 2.0 ** min(tries - 1, MAX_DOUBLINGS)
            )


def _defer_series(store: Store, late: LateReadings, again_s: float) -> None:
    """Store that a series that can't be judged is due later, so that other processes also wait.

    Raises `StoreUnavailableError`.
    """
    try:
        store.store_corrections(late, np.empty(0, REVISION), [], again_s=again_s)
    except StoreRefusedError as error:
        log.warning("put_off_in_memory", series=late.series_id, error=str(error).partition("\n")[0])


def _store_corrections(store: Store, settings: Settings, late: LateReadings, found: PieceCorrections) -> None:
    """Store the changes of a series, all or nothing."""
    revisions, changed, rest_from_s = found
    again_s = settings.rejudge_again_s if changed.unfinished else None
    if store.store_corrections(late, revisions, changed.anomalies, again_s=again_s, rest_from_s=rest_from_s):
        _report_rejudged(late, len(revisions), len(changed.anomalies))


def _report_rejudged(late: LateReadings, flags: int, anomalies: int) -> None:
    REJUDGED.inc()
    CORRECTED.labels("flags").inc(flags)
    CORRECTED.labels("anomalies").inc(anomalies)
    if flags or anomalies:
        log.info("rejudged", series=late.series_id, late=late.readings, flags=flags, anomalies=anomalies)


def find_corrections(
    store: Store, settings: Settings, late: LateReadings, series: Series, *, now_s: float
) -> tuple[NDArray[np.void], AnomalyCorrections]:
    """Return the changes from judging a series again: REVISION rows and anomalies; only of the first piece.

    Raises
    ------
    StoreUnavailableError
    ValueError
        If the limits of the series contradict each other.

    """
    steps = _find_piece_corrections(store, settings, late, series, now_s=now_s)
    try:
        request = next(steps)
        while True:
            request = steps.send(judge_block(request))
    except StopIteration as end:
        found: PieceCorrections = end.value
        return found.revisions, found.changed


def _find_piece_corrections(
    store: Store, settings: Settings, late: LateReadings, series: Series, *, now_s: float
) -> Steps[PieceCorrections]:
    """Return the changes from judging a series again, or the next piece of it."""
    to_s = late.until_s + settings.rejudge_reach_days * DAY_S
    series = next(
        iter(default_limits.usable_series([series]).series), series
    )  # with the limits that ingest uses, even if those enrolled are unusable
    block = yield from _judge_history(store, settings, late, series, to_s)
    if block.rest_from_s is not None:
        to_s = float(block.rows["time_us"][-1]) / 1e6
    margin_s = events.EVIDENCE_READINGS * series.interval_s
    rejudged_range = RejudgedRange(late.since_s - margin_s, to_s, late, now_s)
    gap_s = max(
        float(default_limits.judge_parameters([series]).event_gap_s[0]),
        events.EVENT_GAP_READINGS * series.interval_s,
        events.MAX_PAUSE_S,
    )
    query = AnomalyQuery(
        series_ids=[series.series_id],
        detectors=sorted(anomaly_text.DETECTOR_NAMES.values()),
        from_s=late.since_s - margin_s - gap_s,
        to_s=to_s,
    )
    stored = [as_judged(one) for one in all_anomalies(store, query)]
    found_anomalies = [
        one
        for one in block.found_anomalies
        if one.end_s is None or one.end_s >= rejudged_range.from_s - gap_s
    ]
    starts = {one.start_s for one in found_anomalies}
    found_anomalies += [
        one for one in stored if one.start_s not in starts and _was_live_warmed_up(one, block)
    ]
    return PieceCorrections(
        _revisions(block, rejudged_range),
        correct_anomalies(stored, found_anomalies, rejudged_range),
        block.rest_from_s,
    )


def _judge_history(
    store: Store, settings: Settings, late: LateReadings, series: Series, to_s: float
) -> Steps[RejudgedBlock]:
    """Judge the history of a series; it extends beyond ``to_s`` while an event has not ended there.

    It holds at most ``rejudge_readings`` readings. Late readings after that are left to the next piece; if
    there are none, an event that is still open there is ended at the last reading.
    """
    max_readings = settings.rejudge_readings
    newest_s = max((one.time_s for one in store.latest([series.series_id])), default=to_s)
    reach_s = to_s - late.since_s
    warm_up_s = max(settings.rejudge_days * DAY_S, WARM_UP_READINGS * series.interval_s)
    warm_up_s = min(warm_up_s, max_readings / 2 * series.interval_s)
    while True:
        rows = store.readings(series.series_id, late.since_s - warm_up_s, to_s, limit=max_readings)
        last_s = float(rows["time_us"][-1]) / 1e6 if len(rows) else to_s
        if len(rows) == max_readings and last_s <= late.since_s:
            warm_up_s /= 4  # readings are more frequent than the enrolled interval
            continue
        block = yield from _judge_rows(series, rows[rows["rules"] & (Rule.CLOCK | Rule.DEVICE) == 0])
        if len(rows) == max_readings:
            rest_from_s = max(last_s - settings.rejudge_reach_days * DAY_S, (late.since_s + last_s) / 2)
            if rest_from_s <= late.until_s:
                return block._replace(rest_from_s=rest_from_s)
            return block._replace(found_anomalies=[_ended_at(one, last_s) for one in block.found_anomalies])
        if to_s > newest_s or all(one.state == "closed" for one in block.found_anomalies):
            return block
        reach_s *= REACH_FACTOR
        to_s = late.since_s + reach_s


def _ended_at(one: Anomaly, time_s: float) -> Anomaly:
    """Return an anomaly, closed at the given time if it is still open."""
    if one.state == "closed":
        return one
    return msgspec.structs.replace(one, state="closed", end_s=max(one.start_s, time_s))


def _judge_rows(series: Series, rows: NDArray[np.void]) -> Steps[RejudgedBlock]:
    """Judge the rows as one block with a fresh state."""
    judged_as = series
    if not (rows["rules"][:NEW_SENSOR_READINGS] & Rule.WARM_UP).any():
        # The block warms up, but live judging had learned the series: the steps of a new sensor are not its.
        judged_as = msgspec.structs.replace(series, adopted=series.adopted | {"warm_up_step": None})
    judged = yield BlockRequest(series, judged_as, rows["time_us"] / 1e6, np.ascontiguousarray(rows["value"]))
    return RejudgedBlock(rows, *judged)


def _revisions(block: RejudgedBlock, rejudged_range: RejudgedRange) -> NDArray[np.void]:
    """Return the flags that changed as REVISION rows; a flag that can't be evaluated again is kept."""
    rows, time_s = block.rows, block.rows["time_us"] / 1e6
    has_changed = (rows["quality"] != block.quality) | (rows["rules"] != block.rules)
    has_changed &= (time_s >= rejudged_range.late.since_s) & (time_s < rejudged_range.to_s)
    has_changed &= (block.quality != Flag.NOT_EVALUATED) | (rows["rules"] & UNJUDGED_RULES > 0)
    revised = np.empty(np.count_nonzero(has_changed), REVISION)
    for name in ("series_id", "time_us"):
        revised[name] = rows[name][has_changed]
    revised["quality"], revised["rules"] = block.quality[has_changed], block.rules[has_changed]
    return revised


def _was_live_warmed_up(one: Anomaly, block: RejudgedBlock) -> bool:
    """Whether the block was still warming up at the anomaly's peak but live judging was not.

    Such a stored anomaly is kept.
    """
    at = int(np.searchsorted(block.rows["time_us"], round(one.peak_s * 1e6)))
    return at < len(block.rows) and bool(block.rules[at] & ~block.rows["rules"][at] & Rule.WARM_UP)
