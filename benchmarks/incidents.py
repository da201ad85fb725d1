"""Groups a seeded storm of 10,000 anomalies in one day over the demo's 43 sites into incidents.

Beside it, the same storm through two baselines:

- *alarm per anomaly*: each anomaly notifies once when it begins;
- *by label*: grouping as Grafana and Alertmanager do it, by labels: a new group waits 30 s, one
  with new alerts notifies after 5 min (no repetitions); by area and detector, and by site.

Two operators share the notifications; in the simulation each alarm is acknowledged three minutes after it
sounded. An event is found if exactly one incident (group) consists mostly of its anomalies; an incident
beyond one of each event is extra. Then transitions of incidents are posted to a real gateway on a real
database (fsync on) over one persistent connection. Prints a table and last one JSON line.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import httpx
import msgspec
import numpy as np

from analytics.incidents.grouped_anomalies import StoredIncidents
from analytics.incidents.grouping_rules import GroupingRules
from analytics.incidents.incident_grouping import IncidentGrouping
from analytics.incidents.performance import PERIOD_S, alarm_performance, sliding_peak
from analytics.incidents.priority_matrix import default_matrix
from analytics.incidents.state_machine import apply_event
from benchmarks import _api_load
from benchmarks._incident_storm import DAY_S, HOUR_S, START_S, Storm, make_storm
from deploy.debian_servers.installation import PROGRAMS
from deploy.embedded.server_environment import free_port
from gateway.auth import api_keys
from gateway.auth.principal import Role
from ingest_service.storage.contract.incidents import Incident, IncidentAnomaly, IncidentHistory
from ingest_service.storage.postgres.api_keys import ApiKeyStore
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support import server_installation
from tests.support.incident_world import town
from tests.support.processes import PlatformProcess, running_processes
from tests.support.throwaway_servers import TIMESCALE, PostgresServer, fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ingest_service.storage.contract.incidents import HistoryEntry
    from ingest_service.storage.contract.models import Anomaly

OPERATORS: Final = 2
ACKNOWLEDGED_AFTER_S: Final = 180.0
END_S: Final = START_S + DAY_S + 6 * HOUR_S  # until everything has returned to normal
GROUP_WAIT_S, GROUP_INTERVAL_S = 30.0, 300.0  # Grafana's and Alertmanager's defaults
TRANSITIONS: Final = 300


@dataclass
class StormResult:
    """Incidents of a storm, where each anomaly belongs, and the history."""

    storm: Storm
    incidents: list[Incident] = field(default_factory=list)
    members: dict[int, IncidentAnomaly] = field(default_factory=dict)
    history: list[IncidentHistory] = field(default_factory=list)
    seconds: float = 0.0

    def groups(self) -> list[frozenset[int]]:
        """Return the anomalies of each incident."""
        found: dict[int, set[int]] = {}
        for one in self.members.values():
            if one.incident_id is not None:
                found.setdefault(one.incident_id, set()).add(one.anomaly_id)
        return [frozenset(one) for one in found.values()]


class StormScore(NamedTuple):
    """Figures of one way of grouping; peaks and shares are per operator and 10 min."""

    notifications: int
    found: float
    extra: float
    peak_per_operator: float
    flood_periods: float
    chattering: int
    unlisted: int


def run_storm(
    *, anomalies: int = 10_000, seed: int = 1, step_s: float = 60.0, restart_every: int | None = None
) -> StormResult:
    """Group a storm as the service does, in rounds of ``step_s`` [s] of simulated time.

    ``restart_every`` rounds, the grouping starts anew from what a store would hold.
    """
    storm = make_storm(anomalies=anomalies, seed=seed)
    result = StormResult(storm)
    known: dict[int, Anomaly] = {}
    rules, matrix = GroupingRules(operators=OPERATORS), default_matrix()
    grouping = IncidentGrouping(storm.relations, rules, matrix)
    began_s, now_s, at, rounds = time.perf_counter(), START_S, 0, 0
    while now_s < END_S:
        now_s, rounds = now_s + step_s, rounds + 1
        batch = []
        while at < len(storm.changes) and storm.changes[at].at_s <= now_s:
            batch.append(storm.changes[at].anomaly)
            at += 1
        known |= {one.anomaly_id: one for one in batch}
        grouping.group(batch, now_s=now_s)
        grouping.advance(now_s=now_s)
        grouping.act(lambda one, now_s=now_s: _operator(one, now_s))
        if restart_every and rounds % restart_every == 0:
            _take(grouping, result)
            sounded = [one.at_s for one in result.history if one.to_state == "unacknowledged"]
            grouping = IncidentGrouping(
                storm.relations,
                rules,
                matrix,
                StoredIncidents(result.incidents, list(result.members.values()), known, sounded[-500:]),
            )
    _take(grouping, result)
    result.seconds = time.perf_counter() - began_s
    return result


def _operator(incident: Incident, now_s: float) -> tuple[Incident, list[HistoryEntry]] | None:
    """Acknowledge an alarm some minutes after it sounded."""
    waits = incident.alarm_state in {"unacknowledged", "returned_unacknowledged"}
    if not waits or now_s - incident.opened_s < ACKNOWLEDGED_AFTER_S:
        return None
    return apply_event(incident, "acknowledge", who="operator", role="operator", at_s=now_s)


def _take(grouping: IncidentGrouping, result: StormResult) -> None:
    """Store a round as a database does: new incidents get the next ids."""
    first_id = len(result.incidents)

    def stored_id(key: int) -> int:
        return key if key > 0 else first_id - key

    result.members |= {
        anomaly_id: one
        if one.incident_id is None
        else msgspec.structs.replace(one, incident_id=stored_id(one.incident_id))
        for anomaly_id, one in grouping.members.items()
    }
    result.incidents = sorted(
        (
            msgspec.structs.replace(
                one,
                incident_id=stored_id(one.incident_id),
                parent_id=None if one.parent_id is None else stored_id(one.parent_id),
            )
            for one in grouping.incidents
        ),
        key=lambda one: one.incident_id,
    )
    result.history += [
        IncidentHistory(history_id=0, incident_id=stored_id(key), revision=0, **msgspec.structs.asdict(entry))
        for key, entries in grouping.entries.items()
        for entry in entries
    ]
    result.history.sort(key=lambda one: one.at_s)


def score(result: StormResult) -> StormScore:
    """Return the figures of the incidents of a storm."""
    measured = alarm_performance(
        result.incidents, result.history, from_s=START_S, to_s=START_S + DAY_S, operators=OPERATORS
    )
    times_s = [
        one.at_s for one in result.history if one.machine == "alarm" and one.to_state == "unacknowledged"
    ]
    return _score(
        result.storm,
        result.groups(),
        times_s,
        chattering=measured.chattering,
        unlisted=sum(not one.reason_en or not one.reason_zh for one in result.members.values())
        + len(result.storm.event_of)
        - len(result.members),
    )


def per_anomaly(storm: Storm) -> StormScore:
    """Return the figures of one alarm per anomaly."""
    begins = {one.anomaly.anomaly_id: one.at_s for one in reversed(storm.changes)}
    return _score(storm, [{one} for one in begins], begins.values(), chattering=_chattering(storm, begins))


def by_label(storm: Storm, *labels: str) -> StormScore:
    """Return the figures of grouping by labels, as Grafana and Alertmanager do it."""
    area = dict(zip(storm.relations.site_ids, storm.relations.area_ids, strict=True))
    spans: dict[tuple[str, ...], list[tuple[float, float, int]]] = {}
    begins = {one.anomaly.anomaly_id: one.at_s for one in reversed(storm.changes)}
    ends = {one.anomaly.anomaly_id: one for one in storm.changes}
    for anomaly_id, last in ends.items():
        values = {
            "area": area[last.anomaly.site_id],
            "site": last.anomaly.site_id,
            "detector": last.anomaly.detector,
        }
        key = tuple(values[name] for name in labels)
        spans.setdefault(key, []).append((begins[anomaly_id], last.at_s, anomaly_id))
    groups: list[set[int]] = []
    notified: list[float] = []
    chattering = 0
    for alerts in spans.values():
        groups_of_label, times_s = _label_group(sorted(alerts))
        chattering += any(c - a <= 60.0 for a, c in zip(times_s, times_s[2:], strict=False))
        groups += groups_of_label
        notified += times_s
    return _score(storm, groups, notified, chattering=chattering)


def _label_group(alerts: list[tuple[float, float, int]]) -> tuple[list[set[int]], list[float]]:
    """Return the groups of one label (it ends when all of its alerts are over) and when each notified."""
    groups: list[set[int]] = []
    times_s: list[float] = []
    until_s = next_s = -np.inf
    for begin_s, end_s, anomaly_id in alerts:
        if begin_s > until_s:
            groups.append(set())
            next_s = begin_s + GROUP_WAIT_S
            times_s.append(next_s)
        elif begin_s > times_s[-1]:  # new since the last notification: in the next interval
            steps = np.ceil((begin_s - times_s[-1]) / GROUP_INTERVAL_S)
            times_s.append(times_s[-1] + max(1.0, float(steps)) * GROUP_INTERVAL_S)
        groups[-1].add(anomaly_id)
        until_s = max(until_s, end_s)
    return groups, times_s


def _score(
    storm: Storm,
    groups: Iterable[Iterable[int]],
    times_s: Iterable[float],
    *,
    chattering: int,
    unlisted: int = 0,
) -> StormScore:
    of_event: Counter[str] = Counter()
    for group in groups:
        of_event[Counter(storm.event_of[one] for one in group).most_common(1)[0][0]] += 1
    events = storm.events
    sounded = np.sort(np.array(list(times_s), np.float64))
    periods = np.bincount(((sounded - START_S) // PERIOD_S).astype(np.int64), minlength=int(DAY_S / PERIOD_S))
    return StormScore(
        len(sounded),
        sum(of_event[one] == 1 for one in events) / len(events),
        sum(max(0, of_event[one] - 1) for one in events) / len(events),
        sliding_peak(sounded) / OPERATORS,
        float(np.mean(periods / OPERATORS > 10)),
        chattering,
        unlisted,
    )


def _chattering(storm: Storm, begins: dict[int, float]) -> int:
    times_s: dict[str, list[float]] = {}
    for one in storm.changes:
        times_s.setdefault(one.anomaly.subject, []).append(begins[one.anomaly.anomaly_id])
    unique = [sorted(set(one)) for one in times_s.values()]
    return sum(any(c - a <= 60.0 for a, c in zip(one, one[2:], strict=False)) for one in unique)


def transition_times_s() -> list[float]:
    """Post transitions to a gateway one after the other; return their response times [s]."""
    database = PostgresServer(
        server_installation.provide(print),
        "postgres",
        PROGRAMS,
        TIMESCALE | {"fsync": "on"},
    )
    try:
        database.create()
        with fresh_database(database) as dsn, tempfile.TemporaryDirectory() as folder:
            migrate(dsn)
            store = PostgresStore.open(dsn)
            store.enrol(town("a"))
            _, key = api_keys.create_key(ApiKeyStore(store), name="b", role=Role.OPERATOR, created_by="b")
            store.close()
            port = free_port()
            limits = ("--requests-per-s", "1e6", "--requests-burst", "1000000")
            log = Path(folder) / "gateway.log"
            gateway = PlatformProcess("gateway", "--port", str(port), *limits, log=log, TOWNTWIN_DSN=dsn)
            with running_processes(gateway):
                _api_load.wait_for(port)
                return _post_transitions(port, {"X-API-Key": key})
    finally:
        database.remove()


def _post_transitions(port: int, headers: dict[str, str]) -> list[float]:
    times_s = []
    new = {"site_id": "a-r0", "kind": "water", "summary": "benchmark"}
    steps: Sequence[dict[str, str]] = (
        {"event": "acknowledge"},
        {"event": "file"},
        {"event": "dispatch", "team_id": "t"},
        {"event": "accept"},
        {"event": "report", "why": "done"},
        {"event": "verify"},
        {"event": "close"},
    )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}/v1", headers=headers, timeout=30) as client:
        while len(times_s) < TRANSITIONS:
            incident = client.post("/incidents", json=new).raise_for_status().json()
            for step in steps:
                began_s = time.perf_counter()
                answer = client.post(
                    f"/incidents/{incident['incident_id']}/transitions",
                    json=step | {"revision": incident["revision"]},
                )
                times_s.append(time.perf_counter() - began_s)
                incident = answer.raise_for_status().json()
    return times_s


def main() -> None:
    """Run the storm and the transitions, and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks incidents")
    parser.add_argument("--anomalies", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--no-api", action="store_true", help="leave the transitions by API out")
    options, _ = parser.parse_known_args(None)
    print(f"{'':34}" + "".join(f"{one:>14}" for one in StormScore._fields))
    worst: list[StormScore] = []
    for seed in options.seeds:
        result = run_storm(anomalies=options.anomalies, seed=seed)
        events = len(result.storm.events)
        print(
            f"seed {seed}: {len(result.storm.event_of):,} anomalies, {events} events, {result.seconds:.1f} s"
        )
        rows = {
            "incidents": score(result),
            "alarm per anomaly": per_anomaly(result.storm),
            "by label (area, detector)": by_label(result.storm, "area", "detector"),
            "by label (site)": by_label(result.storm, "site"),
        }
        worst.append(rows["incidents"])
        for name, one in rows.items():
            print(f"  {name:32}" + "".join(f"{value:>14.4g}" for value in one), flush=True)
    results = {
        "found": min(one.found for one in worst),
        "extra": max(one.extra for one in worst),
        "peak_per_operator": max(one.peak_per_operator for one in worst),
        "flood_periods": max(one.flood_periods for one in worst),
        "chattering": max(one.chattering for one in worst),
        "unlisted": max(one.unlisted for one in worst),
    }
    if not options.no_api:
        times_ms = 1e3 * np.array(transition_times_s())
        results["transition_p50_ms"], results["transition_p95_ms"] = np.quantile(times_ms, [0.5, 0.95]).round(
            1
        )
        print(
            f"{len(times_ms)} transitions: p50 {np.median(times_ms):.1f} ms, "
            f"p95 {np.quantile(times_ms, 0.95):.1f} ms"
        )
    print(json.dumps(results))
