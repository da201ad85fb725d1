"""Judges a series again over the time range that late readings affect; corrects its flags and anomalies.

A series is judged as one block with a fresh state, starting with a warm-up before its first late reading,
with all readings in the order of their measured time. The state of the live shard is not changed
(docs/decisions/0007-late-data.md).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import structlog
from prometheus_client import Counter

from analytics.core import events
from analytics.core import judge as core
from analytics.core.flags import Flag, Rule
from analytics.core.state import State
from analytics.quality import anomaly_text, default_limits
from analytics.quality.anomaly_records import anomaly_from_event
from analytics.service.anomaly_corrections import RejudgedRange, correct_anomalies
from analytics.service.service_state import ServiceState
from analytics.service.time_slice import UNLIMITED
from ingest_service.storage.contract.errors import StoreRefusedError
from ingest_service.storage.contract.explanations import as_judged
from ingest_service.storage.contract.models import REVISION, AnomalyQuery
from ingest_service.storage.contract.paging import all_anomalies

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from analytics.service.anomaly_corrections import AnomalyCorrections
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


def rejudge(
    store: Store,
    settings: Settings,
    time_slice: TimeSlice = UNLIMITED,
    service_state: ServiceState | None = None,
) -> None:
    """Judge a limited number of series with late readings again, longest waiting first."""
    series_backoff = (service_state or ServiceState()).backoff("rejudge")
    deferred_items = series_backoff.deferred_items()
    due = store.late_readings_due(limit=settings.rejudge_series + len(deferred_items))
    due = [one for one in due if str(one.series_id) not in deferred_items]
    if not due:
        return
    series = {one.series_id: one for one in store.directory().series}
    for late in due:
        if time_slice.is_over:
            return
        with series_backoff.isolate(key := str(late.series_id)):
            _rejudge_series(store, settings, late, series)
        if series_backoff.failed(key):
            _defer_series(
                store,
                late,
                settings.rejudge_again_s * 2.0 ** min(series_backoff.tries(key) - 1, MAX_DOUBLINGS),
            )


def _defer_series(store: Store, late: LateReadings, again_s: float) -> None:
    """Store that a series that can't be judged is due later, so that other processes also wait.

    Raises `StoreUnavailableError`.
    """
    try:
        store.store_corrections(late, np.empty(0, REVISION), [], again_s=again_s)
    except StoreRefusedError as error:
        log.warning("put_off_in_memory", series=late.series_id, error=str(error).partition("\n")[0])


def _rejudge_series(
    store: Store, settings: Settings, late: LateReadings, series: Mapping[int, Series]
) -> None:
    """Judge one series again, or the next piece of it, and store the corrections."""
    revisions, changed, rest_from_s = _find_piece_corrections(
        store, settings, late, series[late.series_id], now_s=time.time()
    )
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
    return _find_piece_corrections(store, settings, late, series, now_s=now_s)[:2]


def _find_piece_corrections(
    store: Store, settings: Settings, late: LateReadings, series: Series, *, now_s: float
) -> tuple[NDArray[np.void], AnomalyCorrections, float | None]:
    """Return the same as `find_corrections`, and the start of the next piece [Unix s] or None."""
    to_s = late.until_s + settings.rejudge_reach_days * DAY_S
    series = next(
        iter(default_limits.usable_series([series]).series), series
    )  # with the limits that ingest uses, even if those enrolled are unusable
    block = _judge_history(store, settings, late, series, to_s)
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
    return (
        _revisions(block, rejudged_range),
        correct_anomalies(stored, found_anomalies, rejudged_range),
        block.rest_from_s,
    )


def _judge_history(
    store: Store, settings: Settings, late: LateReadings, series: Series, to_s: float
) -> RejudgedBlock:
    """Judge the history of a series; it extends beyond ``to_s`` while an event has not ended there.

    It holds at most ``rejudge_readings`` readings. Late readings after that are left to the next piece; if
    there are none, an event that is still open there is ended at the last reading.
    """
    max_readings = settings.rejudge_readings
    newest_s = max((one.time_s for one in store.latest([series.series_id])), default=to_s)
    reach_s = to_s - late.since_s
    warm_up_s = min(settings.rejudge_days * DAY_S, max_readings / 2 * series.interval_s)
    while True:
        rows = store.readings(series.series_id, late.since_s - warm_up_s, to_s, limit=max_readings)
        last_s = float(rows["time_us"][-1]) / 1e6 if len(rows) else to_s
        if len(rows) == max_readings and last_s <= late.since_s:
            warm_up_s /= 4  # readings are more frequent than the enrolled interval
            continue
        block = _judge_block(series, rows[rows["rules"] & (Rule.CLOCK | Rule.DEVICE) == 0])
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


def _judge_block(series: Series, rows: NDArray[np.void]) -> RejudgedBlock:
    """Judge the rows as one block with a fresh state."""
    slots, time_s = np.zeros(len(rows), np.intp), rows["time_us"] / 1e6
    judged_as = series
    if not (rows["rules"][:NEW_SENSOR_READINGS] & Rule.WARM_UP).any():
        # The block warms up, but live judging had learned the series: the steps of a new sensor are not its.
        judged_as = msgspec.structs.replace(series, adopted=series.adopted | {"warm_up_step": None})
    outcome = core.judge(
        State.empty(1), default_limits.judge_parameters([judged_as]), slots, time_s, rows["value"]
    )
    quality, rules = outcome.quality, outcome.rules
    at = np.searchsorted(time_s, outcome.revised_time_s)
    quality[at], rules[at] = outcome.revised_quality, outcome.revised_rules
    return RejudgedBlock(
        rows,
        quality,
        rules,
        [anomaly_from_event(series, outcome.events, i) for i in range(len(outcome.events.series))],
    )


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
