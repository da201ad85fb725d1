"""Late readings: the stretch that they touch is judged again, and its flags and anomalies are corrected.

A series is judged as one block with a fresh state, from a warm-up before its first late reading on, with all
readings in the order of their measured time. The state of the live shard is not touched
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
from analytics.service import items
from analytics.service.corrections import Stretch, changes
from analytics.service.turn import ENDLESS
from ingest_service.pipeline import limits, reasons
from ingest_service.pipeline.judging import anomaly_of
from ingest_service.storage.errors import StoreRefused
from ingest_service.storage.model import REVISION, AnomalyQuery

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from analytics.service.corrections import Changes
    from analytics.service.settings import Settings
    from analytics.service.turn import Turn
    from ingest_service.storage.model import Anomaly, Late, Series
    from ingest_service.storage.store import Store

log = structlog.get_logger()

DAY_S = 86_400.0
MANY = 10_000
NOT_JUDGED = Rule.LATE | Rule.UNJUDGED
MOST_DOUBLED = 8  # from five minutes to a day
FURTHER = 4.0  # times as far, where an event does not end

REJUDGED = Counter(
    "towntwin_service_rejudged_series_total", "Series with late readings that were judged again"
)
CORRECTED = Counter("towntwin_service_corrected_total", "What judging again changed", ["what"])


class Block(NamedTuple):
    """A series' readings, READING ``(n,)``, and what is said of them now.

    ``rest_from_s`` is where the next piece begins; None where this is the last one.
    """

    rows: NDArray[np.void]
    quality: NDArray[np.uint8]
    rules: NDArray[np.uint16]
    found: list[Anomaly]
    rest_from_s: float | None = None


def rejudge(store: Store, settings: Settings, turn: Turn = ENDLESS) -> None:
    """Judge some of the series again that have late readings, those that wait longest first."""
    waiting = items.of(store, "rejudge")
    put_off = waiting.put_off()
    due = store.late_due(limit=settings.rejudge_series + len(put_off))
    due = [one for one in due if str(one.series_id) not in put_off]
    if not due:
        return
    series = {one.series_id: one for one in store.directory().series}
    for late in due:
        if turn.over:
            return
        with waiting.isolated(key := str(late.series_id)):
            _one(store, settings, late, series)
        if waiting.failed(key):
            _put_off(store, late, settings.rejudge_again_s * 2.0 ** min(waiting.tries(key) - 1, MOST_DOUBLED))


def _put_off(store: Store, late: Late, again_s: float) -> None:
    """Let a series wait that can't be judged, also for the next process. Raises `StoreUnavailable`."""
    try:
        store.correct(late, np.empty(0, REVISION), [], again_s=again_s)
    except StoreRefused as error:
        log.warning("put_off_in_memory", series=late.series_id, error=str(error).partition("\n")[0])


def _one(store: Store, settings: Settings, late: Late, series: Mapping[int, Series]) -> None:
    """One series, or the next piece of it."""
    revisions, changed, rest_from_s = _corrections(
        store, settings, late, series[late.series_id], now_s=time.time()
    )
    again_s = settings.rejudge_again_s if changed.unfinished else None
    if store.correct(late, revisions, changed.anomalies, again_s=again_s, rest_from_s=rest_from_s):
        _tell(late, len(revisions), len(changed.anomalies))


def _tell(late: Late, flags: int, anomalies: int) -> None:
    REJUDGED.inc()
    CORRECTED.labels("flags").inc(flags)
    CORRECTED.labels("anomalies").inc(anomalies)
    if flags or anomalies:
        log.info("rejudged", series=late.series_id, late=late.readings, flags=flags, anomalies=anomalies)


def corrections(
    store: Store, settings: Settings, late: Late, series: Series, *, now_s: float
) -> tuple[NDArray[np.void], Changes]:
    """What judging a series again changes: REVISION rows, and anomalies; of a long stretch its first piece.

    Raises
    ------
    StoreUnavailable
    ValueError
        Where the limits of the series contradict each other.

    """
    return _corrections(store, settings, late, series, now_s=now_s)[:2]


def _corrections(
    store: Store, settings: Settings, late: Late, series: Series, *, now_s: float
) -> tuple[NDArray[np.void], Changes, float | None]:
    """The same, and where the next piece begins."""
    to_s = late.until_s + settings.rejudge_reach_days * DAY_S
    series = next(iter(limits.usable([series]).series), series)  # as ingest judges it, whatever is enrolled
    block = _judged(store, settings, late, series, to_s)
    if block.rest_from_s is not None:
        to_s = float(block.rows["time_us"][-1]) / 1e6
    margin_s = events.RING * series.interval_s
    stretch = Stretch(late.since_s - margin_s, to_s, late, now_s)
    gap_s = float(limits.of_series([series]).event_gap_s[0])
    query = AnomalyQuery(
        series_ids=[series.series_id],
        detectors=sorted(reasons.DETECTORS.values()),
        from_s=late.since_s - margin_s - gap_s,
        to_s=to_s,
        limit=MANY,
    )
    stored = store.anomalies(query)
    found = [one for one in block.found if one.end_s is None or one.end_s >= stretch.from_s - gap_s]
    starts = {one.start_s for one in found}
    found += [one for one in stored if one.start_s not in starts and _is_beyond(one, block)]
    return _revisions(block, stretch), changes(stored, found, stretch), block.rest_from_s


def _judged(store: Store, settings: Settings, late: Late, series: Series, to_s: float) -> Block:
    """The history of a series, judged; it goes on beyond ``to_s`` where an event has not ended there.

    It holds ``rejudge_readings`` at most. What is late after as many is the next piece's; an event that has
    not ended after as many is ended there.
    """
    most = settings.rejudge_readings
    newest_s = max((one.time_s for one in store.latest([series.series_id])), default=to_s)
    reach_s = to_s - late.since_s
    warm_up_s = min(settings.rejudge_days * DAY_S, most / 2 * series.interval_s)
    while True:
        rows = store.readings(series.series_id, late.since_s - warm_up_s, to_s, limit=most)
        last_s = float(rows["time_us"][-1]) / 1e6 if len(rows) else to_s
        if len(rows) == most and last_s <= late.since_s:
            warm_up_s /= 4  # they come more often than enrolled
            continue
        block = _judge(series, rows[rows["rules"] & Rule.CLOCK == 0])
        if len(rows) == most:
            rest_from_s = max(last_s - settings.rejudge_reach_days * DAY_S, (late.since_s + last_s) / 2)
            if rest_from_s <= late.until_s:
                return block._replace(rest_from_s=rest_from_s)
            return block._replace(found=[_ended(one, last_s) for one in block.found])
        if to_s > newest_s or all(one.state == "closed" for one in block.found):
            return block
        reach_s *= FURTHER
        to_s = late.since_s + reach_s


def _ended(one: Anomaly, time_s: float) -> Anomaly:
    """An anomaly, ended at a time if it goes on there."""
    if one.state == "closed":
        return one
    return msgspec.structs.replace(one, state="closed", end_s=max(one.start_s, time_s))


def _judge(series: Series, rows: NDArray[np.void]) -> Block:
    """One block, with a fresh state."""
    slots, time_s = np.zeros(len(rows), np.intp), rows["time_us"] / 1e6
    said = core.judge(State.empty(1), limits.of_series([series]), slots, time_s, rows["value"])
    quality, rules = said.quality, said.rules
    at = np.searchsorted(time_s, said.revised_time_s)
    quality[at], rules[at] = said.revised_quality, said.revised_rules
    return Block(
        rows, quality, rules, [anomaly_of(series, said.events, i) for i in range(len(said.events.series))]
    )


def _revisions(block: Block, stretch: Stretch) -> NDArray[np.void]:
    """The flags that are others now; one that can't be told again stays as it was."""
    rows, time_s = block.rows, block.rows["time_us"] / 1e6
    other = (rows["quality"] != block.quality) | (rows["rules"] != block.rules)
    other &= (time_s >= stretch.late.since_s) & (time_s < stretch.to_s)
    other &= (block.quality != Flag.NOT_EVALUATED) | (rows["rules"] & NOT_JUDGED > 0)
    revised = np.empty(np.count_nonzero(other), REVISION)
    for name in ("series_id", "time_us"):
        revised[name] = rows[name][other]
    revised["quality"], revised["rules"] = block.quality[other], block.rules[other]
    return revised


def _is_beyond(one: Anomaly, block: Block) -> bool:
    """Whether live judging knew more at the peak of a stored anomaly than the block does: it stays."""
    at = int(np.searchsorted(block.rows["time_us"], round(one.peak_s * 1e6)))
    return at < len(block.rows) and bool(block.rules[at] & ~block.rows["rules"][at] & Rule.WARM_UP)
