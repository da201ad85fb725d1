"""Fills a store with judged readings of the demo towns, without a broker."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from analytics.service import process
from analytics.service.settings import Settings
from deploy import demo
from edge.simulator import Town
from edge.wire.quantities import QUANTITIES
from ingest_service.pipeline.decode import DecodedBatch
from ingest_service.pipeline.shard_judge import ShardJudge
from ingest_service.storage.contract.batch import Batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.simulator import PlannedFault
    from ingest_service.storage.contract.store import Store

DAY_S = 86_400.0


def fill_with_demo(
    store: Store,
    *,
    days: float = 3.0,
    until_s: float | None = None,
    plan: Sequence[PlannedFault] | None = None,
    seed: int = 1,
) -> float:
    """Enrol the demo, judge and store its last days; return the simulated present [s].

    Parameters
    ----------
    store : to fill
    days : length of the simulated history [d]
    until_s : end of the history, Unix seconds [s]; None for now
    plan : planned faults; None for the demo's own plan
    seed : of the random numbers

    """
    until_s = until_s or time.time()
    enrolled = store.enrol(demo.directory())
    series = {(one.device_id, one.name): one.series_id for one in enrolled.channels}
    faults = demo.plan() if plan is None else plan
    town = Town(demo.spec(), seed=seed, live_from_s=until_s, history_s=days * DAY_S, plan=faults)
    columns: list[tuple[int, float, float]] = []
    for device in enrolled.devices:
        for pack in town.driver(device.device_id).packs():
            if pack.due_s > until_s:
                break
            for record in pack.records:
                quantity = QUANTITIES[record.name]
                conversion = quantity.accepts[record.unit or quantity.wire_unit]
                value = (record.value or 0.0) * conversion.scale + conversion.offset
                columns.append((series[device.device_id, record.name], record.time_s, value))
    series_id, time_s, values = (np.array(column) for column in zip(*columns, strict=True))
    decoded = DecodedBatch(
        message=np.zeros(len(values), np.intp),
        series_id=series_id.astype(np.int32),
        time_s=time_s,
        received_s=time_s + 2.0,
        value=values,
        has_wrong_clock=np.zeros(len(values), bool),
        declared_quality=np.zeros(len(values), np.uint8),
        dead_letters=[],
        statuses=[],
    )
    judged = ShardJudge(enrolled).judge(decoded)
    store.commit(
        Batch(
            fresh=judged.fresh,
            doubtful=judged.doubtful,
            revisions=judged.revisions,
            anomalies=judged.anomalies,
        )
    )
    process.look_for_silence(store, Settings())
    process.roll_up(store, Settings())
    return until_s
