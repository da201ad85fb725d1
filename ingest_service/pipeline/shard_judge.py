"""Judges the readings of one shard, and keeps, checkpoints and restores the detector state of its series."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import structlog

from analytics.core import judge as core
from analytics.core.flags import Flag, Rule
from analytics.core.state import SCALAR_COLUMN, State
from analytics.quality import default_limits, stuck_clocks
from analytics.quality.anomaly_records import anomaly_from_event
from ingest_service.storage.contract.batch import Checkpoint
from ingest_service.storage.contract.models import READING, REVISION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from analytics.core.events import Events
    from ingest_service.pipeline.decode import DecodedBatch
    from ingest_service.storage.contract.models import Anomaly, Directory, Series
    from ingest_service.storage.contract.store import Store

    ShouldUseCompiled = Callable[[NDArray[np.intp]], bool]
    """Whether the compiled judge takes a block of these slots."""

log = structlog.get_logger()

TIME_1 = SCALAR_COLUMN["time_1"]
REVISION_KEY = ["series_id", "time_us"]
NEVER_US = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True)
class JudgedBatch:
    """Readings of a batch as they will be stored, with the revisions and anomalies they caused.

    ``fresh`` readings are newer than all earlier ones of their series and were judged; ``doubtful`` ones may
    be repeats or late, or are from a device with a wrong clock or flagged
    by their device, and were not. ``…_message`` is the index of
    the message of each reading; ``undo`` rolls the judge back if the database refuses the batch.
    """

    fresh: NDArray[np.void]
    fresh_message: NDArray[np.intp]
    doubtful: NDArray[np.void]
    doubtful_message: NDArray[np.intp]
    revisions: NDArray[np.void]
    anomalies: list[Anomaly]
    failed: bool
    undo: JudgeRollback


@dataclass(frozen=True, slots=True)
class JudgeRollback:
    """State, before a batch, of the series that the batch changes."""

    slots: NDArray[np.intp]
    state: State
    last_us: NDArray[np.int64]
    received_us: NDArray[np.int64]


class ShardJudge:
    """Detector state of the series of a shard, as arrays; a *slot* is the index of a series in them.

    Parameters
    ----------
    use_compiled : decides by block whether the compiled judge is used; None uses it wherever it is
        installed

    Attributes
    ----------
    problems : by ``site/quantity``, why a series can't be judged as it is enrolled, one sentence each

    """

    def __init__(self, directory: Directory, *, use_compiled: ShouldUseCompiled | None = None) -> None:
        self._fast = use_compiled
        self._series: list[Series] = []
        self._slot_of: dict[int, int] = {}
        self._state = State.empty(0)
        self._last_us = np.empty(0, np.int64)
        self._received_us = np.empty(0, np.int64)  # when the newest reading of each series was received
        self.enrol(directory)

    @property
    def series_count(self) -> int:
        """Number of series that can be judged."""
        return len(self._series)

    def enrol(self, directory: Directory) -> None:
        """Add new series and apply changed limits; the state of the existing series is kept."""
        found = default_limits.usable_series(directory.judged_here().series)
        self.problems = found.problems
        by_id = {one.series_id: one for one in found.series}
        enrolled_before = [by_id.get(one.series_id, one) for one in self._series]
        new = [one for series_id, one in by_id.items() if series_id not in self._slot_of]
        self._series = enrolled_before + new
        self._slot_of = {one.series_id: slot for slot, one in enumerate(self._series)}
        self._ids = np.array(list(self._slot_of), np.int32)
        self._slot_of_id = np.full(self._ids.max(initial=0) + 1, -1, np.intp)
        self._slot_of_id[self._ids] = np.arange(len(self._ids))
        self._parameters = default_limits.judge_parameters(self._series)
        self._state = self._state.extended_to(len(self._series))
        self._last_us = np.concatenate([self._last_us, np.full(len(new), NEVER_US)])
        self._received_us = np.concatenate([self._received_us, np.zeros(len(new), np.int64)])
        clock_limits = (self._parameters.stuck_clock_suspect_s, self._parameters.stuck_clock_fail_s)
        self._has_clock_limit = np.any([~np.isnan(one) for one in clock_limits], axis=0)

    def judge(self, decoded: DecodedBatch) -> JudgedBatch:
        """Judge the readings that can be judged; the others are doubtful.

        Those are late ones, those of wrong clocks, and those that their device flags itself.

        If the core raises an error, the readings are stored all the same, flagged 2 (`Rule.UNJUDGED`).
        """
        slots, rows, order = self._sorted(decoded)
        has_wrong_clock = decoded.has_wrong_clock[order]
        declared = decoded.declared_quality[order]
        fresh_mask = self._is_fresh(slots, rows["time_us"]) & ~has_wrong_clock & (declared == 0)
        message = decoded.message[order]
        doubtful, doubtful_message = rows[~fresh_mask], message[~fresh_mask]
        has_wrong_clock, declared = has_wrong_clock[~fresh_mask], declared[~fresh_mask]
        doubtful["quality"] = np.where(has_wrong_clock, Flag.SUSPECT, Flag.NOT_EVALUATED)
        doubtful["rules"] = np.where(has_wrong_clock, Rule.CLOCK, Rule.LATE)
        doubtful["quality"][declared > 0] = np.maximum(doubtful["quality"], declared)[declared > 0]
        doubtful["rules"][declared > 0] = Rule.DEVICE | (doubtful["rules"] & Rule.CLOCK)[declared > 0]
        doubtful_slots = slots[~fresh_mask]
        slots, fresh, fresh_message = slots[fresh_mask], rows[fresh_mask], message[fresh_mask]
        undo = self._rollback(np.concatenate([slots, doubtful_slots[self._has_clock_limit[doubtful_slots]]]))
        # A clock may stand still up to this batch, which has a newer reading, or with the newest one of it.
        stuck_before = self._flag_stuck_clocks(doubtful_slots, doubtful)
        self._remember_newest(slots, fresh)
        judgement = self._judge_fresh(slots, fresh, undo)
        outcome = None if judgement is None else self._apply_judgement(fresh, judgement, undo)
        if outcome is None:
            fresh["quality"], fresh["rules"] = Flag.NOT_EVALUATED, Rule.UNJUDGED
            fresh["expected"] = fresh["spread"] = np.nan
        revisions, anomalies = outcome or (np.empty(0, REVISION), [])
        stuck_now = self._flag_stuck_clocks(doubtful_slots, doubtful)
        stuck = np.concatenate([stuck_before, stuck_now])
        # The judge's own revision of a reading includes the rule of the clock, from the state.
        stuck = stuck[~np.isin(stuck[REVISION_KEY], revisions[REVISION_KEY])]
        revisions = np.concatenate([revisions, stuck])
        return JudgedBatch(
            fresh,
            fresh_message,
            doubtful,
            doubtful_message,
            revisions,
            anomalies,
            failed=outcome is None,
            undo=undo,
        )

    def undo(self, judged: JudgedBatch) -> None:
        """Restore the state from before a batch; batches must be undone newest first."""
        self._state.put(judged.undo.slots, judged.undo.state)
        self._last_us[judged.undo.slots] = judged.undo.last_us
        self._received_us[judged.undo.slots] = judged.undo.received_us

    # -- checkpoints ---------------------------------------------------------------------------

    def checkpoint(self, shard: str) -> Checkpoint:
        """Serialise the current state, to be committed with the batch that produced it."""
        buffer = io.BytesIO()
        newest = {"last_us": self._last_us, "received_us": self._received_us}
        np.savez(buffer, series_id=self._ids, **newest, **self._state.arrays())  # type: ignore[arg-type]
        return Checkpoint(shard, int(core.VERSION), buffer.getvalue())

    def restore(self, store: Store, shard: str, *, replay_days: float, now_s: float) -> int:
        """Load the last checkpoint and replay the readings committed since; returns their number.

        Without a usable checkpoint, the readings of the last ``replay_days`` [d] are replayed.
        """
        checkpoint = store.checkpoint(shard)
        if checkpoint is None or not self._load(checkpoint):
            since = round((now_s - replay_days * 86_400) * 1e6)
            self._last_us[:] = NEVER_US
            since_us = {one.series_id: since for one in self._series}
        else:
            since_us = {one.series_id: int(self._last_us[slot]) for slot, one in enumerate(self._series)}
        replayed = 0
        for block in store.readings_committed_after(since_us):
            self._replay(block)
            replayed += len(block)
        return replayed

    def _load(self, checkpoint: Checkpoint) -> bool:
        if checkpoint.version != int(core.VERSION):
            log.warning("checkpoint_of_other_version", found=checkpoint.version, wanted=int(core.VERSION))
            return False
        try:
            with np.load(io.BytesIO(checkpoint.payload)) as archive:
                arrays = dict(archive)
            ids, last_us = arrays.pop("series_id"), arrays.pop("last_us")
            received_us = arrays.pop("received_us", np.zeros(len(ids), np.int64))
            state = State.from_arrays(arrays)
        except Exception as error:  # noqa: BLE001 - whatever the payload, the state can be rebuilt from readings
            log.warning("checkpoint_unreadable", error=repr(error))
            return False
        kept = np.array([series_id in self._slot_of for series_id in ids.tolist()], bool)
        slots = np.array([self._slot_of[series_id] for series_id in ids[kept].tolist()], np.intp)
        self._state.put(slots, state.select_series(np.flatnonzero(kept)))
        self._last_us[slots], self._received_us[slots] = last_us[kept], received_us[kept]
        return True

    def _replay(self, block: NDArray[np.void]) -> None:
        slots = self._slot_of_id[block["series_id"]]
        fresh_mask = self._is_fresh(slots, block["time_us"])
        slots, fresh = slots[fresh_mask], block[fresh_mask]
        undo = self._rollback(slots)
        self._remember_newest(slots, fresh)
        self._judge_fresh(slots, fresh, undo)

    def _rollback(self, slots: NDArray[np.intp]) -> JudgeRollback:
        """Return the present state of the series that a batch may change."""
        touched = np.unique(slots)
        return JudgeRollback(
            touched,
            self._state.select_series(touched),
            self._last_us[touched],
            self._received_us[touched],
        )

    def _remember_newest(self, slots: NDArray[np.intp], fresh: NDArray[np.void]) -> None:
        """Store when the newest reading of each series was measured and received; sorted by slot and time."""
        self._last_us[slots] = fresh["time_us"]  # of repeated indices, the last one is assigned
        self._received_us[slots] = fresh["received_us"]

    def _flag_stuck_clocks(self, slots: NDArray[np.intp], doubtful: NDArray[np.void]) -> NDArray[np.void]:
        """Return revisions of the newest readings of series whose clock stands still; off unless limited."""
        at = np.flatnonzero(self._has_clock_limit[slots] & (doubtful["time_us"] == self._last_us[slots]))
        is_known = self._received_us[slots[at]] > 0  # not in checkpoints of earlier versions
        at = at[is_known & (self._state.scalars[slots[at], TIME_1] * 1e6 > self._last_us[slots[at]] - 1)]
        standstill_s = (doubtful["received_us"][at] - self._received_us[slots[at]]) / 1e6
        changed = stuck_clocks.flag_stuck_clocks(
            self._state, self._parameters, slots[at], standstill_s, doubtful["value"][at]
        )
        rows = np.empty(len(changed), REVISION)
        rows["series_id"], rows["time_us"] = self._ids[changed], self._last_us[changed]
        rows["quality"] = self._state.scalars[changed, stuck_clocks.QUALITY]
        rows["rules"] = self._state.scalars[changed, stuck_clocks.RULES]
        return rows

    # -- columns -------------------------------------------------------------------------------

    def _sorted(self, decoded: DecodedBatch) -> tuple[NDArray[np.intp], NDArray[np.void], NDArray[np.intp]]:
        """Return slots and readings sorted by slot and time, and the permutation that sorts the batch."""
        rows = np.empty(len(decoded.value), READING)
        slots = self._slot_of_id[decoded.series_id]
        time_us = np.rint(decoded.time_s * 1e6).astype(np.int64)
        order = np.lexsort((time_us, slots))
        rows["series_id"] = decoded.series_id[order]
        rows["time_us"] = time_us[order]
        rows["received_us"] = np.rint(decoded.received_s[order] * 1e6)
        rows["value"] = decoded.value[order]
        rows["expected"] = rows["spread"] = np.nan
        return slots[order], rows, order

    def _is_fresh(self, slots: NDArray[np.intp], time_us: NDArray[np.int64]) -> NDArray[np.bool_]:
        fresh = time_us > self._last_us[slots]
        fresh[1:] &= (slots[1:] != slots[:-1]) | (time_us[1:] != time_us[:-1])
        return fresh

    def _judge_fresh(
        self, slots: NDArray[np.intp], fresh: NDArray[np.void], undo: JudgeRollback
    ) -> core.Judgement | None:
        try:
            use_compiled = None if self._fast is None else self._fast(slots)
            time_s, value = fresh["time_us"] / 1e6, fresh["value"]
            return core.judge(self._state, self._parameters, slots, time_s, value, use_compiled=use_compiled)
        except Exception:
            log.exception("judging_failed", readings=len(fresh), series=len(undo.slots))
            self._state.put(undo.slots, undo.state)
            return None

    def _apply_judgement(
        self, fresh: NDArray[np.void], judgement: core.Judgement, undo: JudgeRollback
    ) -> tuple[NDArray[np.void], list[Anomaly]] | None:
        """Write the judgement into the readings; returns revisions and anomalies, or None after an error.

        After an error the detector state is restored from ``undo``.
        """
        try:
            for name in ("quality", "rules", "expected", "spread"):
                fresh[name] = getattr(judgement, name)
            return self._revisions(judgement), list(self._anomalies(judgement.events))
        except Exception:
            log.exception("judging_failed", readings=len(fresh), series=len(undo.slots))
            self._state.put(undo.slots, undo.state)
            return None

    def _revisions(self, judgement: core.Judgement) -> NDArray[np.void]:
        rows = np.empty(len(judgement.revised_series), REVISION)
        rows["series_id"] = self._ids[judgement.revised_series]
        rows["time_us"] = np.rint(judgement.revised_time_s * 1e6)
        rows["quality"] = judgement.revised_quality
        rows["rules"] = judgement.revised_rules
        return rows

    def _anomalies(self, events: Events) -> Iterator[Anomaly]:
        for i, slot in enumerate(events.series.tolist()):
            yield anomaly_from_event(self._series[slot], events, i)
