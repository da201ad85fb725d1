"""A small town with a river, a road and incidents, for tests of incidents on a database."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from analytics.service.downstream_arrivals import DownstreamArrival
from analytics.service.incident_maintenance import maintain_incidents
from analytics.service.service_state import ServiceState
from analytics.service.settings import Settings
from analytics.service.source_posterior import PosteriorCandidate, SourcePosteriorAnswer, SuggestedSample
from ingest_service.storage.contract.incidents import IncidentTrace
from ingest_service.storage.contract.models import (
    Anomaly,
    Area,
    Device,
    Directory,
    Link,
    Node,
    Series,
    Site,
)
from ingest_service.storage.contract.sensor_verdicts import StoredVerdict
from ingest_service.storage.postgres.incidents import Incidents
from ingest_service.storage.postgres.sensor_verdicts import SensorVerdicts

if TYPE_CHECKING:
    from ingest_service.storage.postgres.store import PostgresStore

NAMES: Any = {"en": "x", "zh": "某"}
TRAVEL_S = 3600.0  # between two sections


def town(area_id: str, *, sections: int = 3, links_to: str | None = None) -> Directory:
    """Return a town with river sections one after the other, an hour of travel apart, and two road sites."""
    sites, nodes, links, series, devices = [], [], [], [], []
    for k in range(sections):
        name = f"{area_id}-r{k}"
        sites.append(
            Site(site_id=name, area_id=area_id, kind="river_section", lon=120 + k / 100, lat=30, **NAMES)
        )
        nodes.append(_node(name, "river", area_id, k))
        if k:
            links.append(_link(f"{area_id}-r{k - 1}", name, "river"))
        series += [Series(site_id=name, quantity=one) for one in ("ph", "ammonia_nitrogen", "turbidity")]
        devices.append(Device(device_id=name, area_id=area_id))
    for k in range(2):
        name = f"{area_id}-s{k}"
        sites.append(
            Site(site_id=name, area_id=area_id, kind="road_section", lon=120 + k / 100, lat=30.1, **NAMES)
        )
        nodes.append(_node(name, "road", area_id, k))
        if k:
            links.append(_link(f"{area_id}-s{k - 1}", name, "road"))
        series.append(Series(site_id=name, quantity="traffic_speed"))
        devices.append(Device(device_id=name, area_id=area_id))
    if links_to is not None:
        links.append(_link(f"{area_id}-r{sections - 1}", f"{links_to}-r0", "river"))
    return Directory(
        areas=[Area(area_id=area_id, level="town", **NAMES)],
        sites=sites,
        devices=devices,
        series=series,
        nodes=nodes,
        links=links,
    )


def _node(name: str, network: Any, area_id: str, k: int) -> Node:
    return Node(
        node_id=name,
        network=network,
        area_id=area_id,
        kind="section",
        lon=120 + k / 100,
        lat=30,
        site_id=name,
        **NAMES,
    )


def _link(start: str, end: str, network: Any) -> Link:
    return Link(
        link_id=f"{start}:{end}",
        network=network,
        from_node=start,
        to_node=end,
        length_m=TRAVEL_S,
        speed_m_s=1.0,
        **NAMES,
    )


def series_anomaly(
    store: PostgresStore, site_id: str, quantity: str, start_s: float, **fields: Any
) -> Anomaly:
    """Return an open anomaly of a series."""
    series_id = next(
        one.series_id
        for one in store.directory().series
        if (one.site_id, one.quantity) == (site_id, quantity)
    )
    return anomaly_at(site_id, start_s, subject=f"series/{series_id}", series_id=series_id, **fields)


def anomaly_at(site_id: str, start_s: float, **fields: Any) -> Anomaly:
    """Return an open anomaly; ``end_s`` closes it."""
    values: dict[str, Any] = {
        "subject": f"site/{site_id}/several",
        "site_id": site_id,
        "detector": "residual",
        "version": "1",
        "start_s": start_s,
        "peak_s": start_s,
        "score": 9.0,
        "severity": 2,
        "n_readings": 3,
        "state": "closed" if fields.get("end_s") is not None else "open",
        "reason_en": "x",
        "reason_zh": "某",
        **fields,
    }
    return Anomaly(**values)


def store_trace(store: PostgresStore, incident_id: int, probabilities: dict[str, float]) -> None:
    """Store the trace of an incident, with a probability of each node; the sample is at the last one."""
    now_s, nodes = time.time(), {one.node_id: one for one in store.directory().nodes}
    posterior = SourcePosteriorAnswer(
        quantity="ammonia_nitrogen",
        candidates=[
            PosteriorCandidate(
                node_id=name,
                en=nodes[name].en,
                zh=nodes[name].zh,
                kind=nodes[name].kind,
                probability=probability,
                released_from_s=now_s - 4 * 3600,
                released_s=now_s - 3 * 3600,
                released_to_s=now_s - 2 * 3600,
                duration_s=3600.0,
                amount_kg=(10.0, 20.0, 40.0),
                group=number,
            )
            for number, (name, probability) in enumerate(probabilities.items())
        ],
        credible_90=list(probabilities),
        n_detects=5,
        n_non_detects=90,
        sensors=sorted({nodes[one].site_id or "" for one in probabilities}),
        fit=0.9,
        extra_sample=SuggestedSample(node_id=list(probabilities)[-1], time_s=now_s + 3600, gain=0.5),
        arrivals=[
            DownstreamArrival(
                node_id=name,
                site_id=nodes[name].site_id or "",
                en=nodes[name].en,
                zh=nodes[name].zh,
                probability=1.0,
                arrival_s=now_s + 7200,
                arrival_band_s=(now_s + 3600, now_s + 10_800),
                peak_s=now_s + 9000,
                peak_mg_l=0.7,
                peak_band_mg_l=(0.5, 0.9),
            )
            for name in probabilities
            if nodes[name].site_id
        ],
    )
    Incidents(store).replace_trace(
        IncidentTrace(
            incident_id=incident_id, inputs="x", computing_s=0.1, posterior=msgspec.to_builtins(posterior)
        )
    )


def store_verdict(
    store: PostgresStore, anomaly_id: int, series_id: int, probability: float, others: list[str]
) -> None:
    """Store the verdict on the sensor of an anomaly."""
    SensorVerdicts(store).replace(
        StoredVerdict(
            anomaly_id=anomaly_id,
            inputs="x",
            is_final=False,
            series_id=series_id,
            event_probability=probability,
            others=others,
        )
    )


def maintain(store: PostgresStore, state: ServiceState | None = None, **settings: Any) -> None:
    """Run the task of the service once."""
    maintain_incidents(store, Settings(**settings), service_state=state or ServiceState())
