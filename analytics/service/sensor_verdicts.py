"""Periodic task that computes for each anomaly on a network whether it is an event or a fault of its sensor.

The sensor's departure is compared with those of the sensors near it on the network, each when the water
arrives there (`analytics.twin.sensor_verdict`). So the verdict is computed anew when the readings of a
further stage (`STAGES_S`) are there, and is final after the last one. An event of a site has the verdict on
the sensor that departed most in it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog

from analytics.service import departure_record, state_inputs
from analytics.service.estimated_state import NETWORK_OF_DOMAIN
from analytics.service.service_state import ServiceState
from analytics.service.time_slice import UNLIMITED
from edge.wire.quantities import QUANTITIES
from ingest_service.storage.contract.sensor_verdicts import StoredVerdict
from ingest_service.storage.postgres.incidents import Incidents
from ingest_service.storage.postgres.sensor_verdicts import SensorVerdicts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analytics.service.departure_record import SensorNeighbourhood
    from analytics.service.settings import Settings
    from analytics.service.time_slice import TimeSlice
    from analytics.twin.sensor_verdict import SensorVerdict
    from ingest_service.storage.contract.models import Anomaly, Directory, Series
    from ingest_service.storage.contract.store import Store

log = structlog.get_logger()

MAX_ANOMALIES: Final = 200  # of one round
KEPT_S: Final = 3 * 86_400.0  # after its start an anomaly is not verified any more
CHECK_AGAIN_S: Final = 60.0  # for a further stage
WINDOW_S: Final = {"river": 6 * 3600.0, "road": 3600.0}  # of a departure; a queue grows past detectors in it
STAGES_S: Final = {
    "river": (1800.0, 3600.0, 3 * 3600.0, 6 * 3600.0, 12 * 3600.0, 24 * 3600.0),
    "road": (300.0, 900.0, 1800.0, 3600.0),
}
VERSION: Final = "1"  # of the computation: another one computes those that are not final anew


def verify_sensors(
    store: Store,
    settings: Settings,
    time_slice: TimeSlice = UNLIMITED,
    service_state: ServiceState | None = None,
) -> None:
    """Compute the verdicts that are due. A store in memory has none."""
    if store.database is None:
        return
    service_state = service_state or ServiceState()
    now_s = time.monotonic()
    if now_s < service_state.verdicts_due_s:
        return
    verdicts, failing = SensorVerdicts(store.database), service_state.backoff("verify_sensors")
    checked = service_state.verdicts_checked
    waiting = verdicts.to_verify(KEPT_S, limit=MAX_ANOMALIES)
    due = [one for one in waiting if now_s - checked.get(one.anomaly_id, -CHECK_AGAIN_S) >= CHECK_AGAIN_S]
    anomalies = Incidents(store.database).anomalies(one.anomaly_id for one in due) if due else {}
    for one in due:
        if time_slice.is_over:
            return  # the rest is verified in the next round
        anomaly = anomalies.get(one.anomaly_id)
        if anomaly is None or failing.is_deferred(str(one.anomaly_id)):
            continue
        with failing.isolate(str(one.anomaly_id)):
            _verify(store, verdicts, service_state.directory_of(store), anomaly, one.inputs)
            checked[one.anomaly_id] = now_s
    for gone in checked.keys() - {one.anomaly_id for one in waiting}:
        del checked[gone]
    service_state.verdicts_due_s = time.monotonic() + settings.incidents_every_s


def _verify(
    store: Store, verdicts: SensorVerdicts, directory: Directory, anomaly: Anomaly, inputs: str | None
) -> None:
    """Compute and store a verdict, if its inputs are others than those of the last one."""
    suspect = suspected_series(directory, anomaly)
    found = suspect and departure_record.find_neighbourhood(directory.valid_at(anomaly.start_s), suspect)
    if not suspect or not found:
        verdicts.replace(StoredVerdict(anomaly_id=anomaly.anomaly_id, inputs=VERSION, is_final=True))
        return
    stages = STAGES_S[found.network]
    newest_s = departure_record.newest_s(store, found.series)
    stage = sum(newest_s >= anomaly.start_s + after_s for after_s in stages)
    used = f"{VERSION} {stage} {suspect.series_id}"
    if used == inputs:
        return
    verdict, is_final = _explain(store, found, anomaly), stage == len(stages)
    probability = None if verdict is None else round(verdict.event_probability, 4)
    if probability is not None and found.network == "road" and not is_final:
        probability = max(probability, 0.5)  # the queue may not have grown to the others yet
    verdicts.replace(
        StoredVerdict(
            anomaly_id=anomaly.anomaly_id,
            inputs=used,
            is_final=is_final,
            series_id=suspect.series_id,
            event_probability=probability,
            others=[] if verdict is None else [found.series[other].site_id for other in verdict.others],
        )
    )
    log.info("sensor_verified", anomaly_id=anomaly.anomaly_id, verdict=verdict)


def suspected_series(directory: Directory, anomaly: Anomaly) -> Series | None:
    """Return the series of an anomaly; of a site's event that which departed most on a network."""
    on_network = {
        one.series_id: one for one in directory.series if QUANTITIES[one.quantity].domain in NETWORK_OF_DOMAIN
    }
    if anomaly.series_id is not None:
        return on_network.get(anomaly.series_id)
    parts: Sequence[dict[str, float]] = anomaly.evidence.get("quantities", [])
    departed = [one for one in parts if one.get("series_id") in on_network]
    most = max(departed, key=lambda one: abs(one.get("score", 0.0)), default=None)
    return None if most is None else on_network[int(most["series_id"])]


def _explain(store: Store, found: SensorNeighbourhood, anomaly: Anomaly) -> SensorVerdict | None:
    """Return the verdict on the first sensor; None where it has no reading in the anomaly's window."""
    from analytics.twin.sensor_verdict import (  # noqa: PLC0415 - scipy: 25 MB
        SensorVerdictError,
        explain_departure,
    )

    stages, tick_s = STAGES_S[found.network], state_inputs.DEFAULTS[found.network].tick_s
    last_s = anomaly.start_s + WINDOW_S[found.network]
    to_s = max(min(last_s, last_s if anomaly.end_s is None else anomaly.end_s), anomaly.start_s + tick_s)
    record = departure_record.read_departures(store, found, anomaly.start_s, to_s, stages[-1])
    share = None
    if found.network == "river":
        share = state_inputs.downstream_share(len(found.at), found.links, found.at)
    try:
        return explain_departure(found.model, record, 0, anomaly.start_s, to_s, downstream_share=share)
    except SensorVerdictError:
        return None
