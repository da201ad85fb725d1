"""Compares what the database holds after a run with what the agents' spools have taken."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import psycopg

from benchmarks.ledger.counting_agent import INTERVAL_S, PACK_READINGS, spool_settings, value_of
from benchmarks.ledger.platform import STATION_SPOOL
from benchmarks.ledger.replay import ReplayComparison, compare_with_replay
from benchmarks.ledger.uploading_station import STATION_DEVICE
from benchmarks.ledger.upper_levels import UpperComparison, compare_upper_level
from edge.agent.spool import Spool, count_waiting_messages
from edge.wire import senml
from edge.wire.errors import PayloadError
from ingest_service.storage.postgres.store import PostgresStore

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from benchmarks.ledger.chain import AgentProcess
    from benchmarks.ledger.platform import LedgerPlatform

ROLLUP_TIMEOUT_S = 240.0
STATION_TIMEOUT_S = 120.0
CONTENT_TYPE = "application/senml+json"
READINGS = """
SELECT extract(epoch FROM r."time")::float8, r.value
FROM reading AS r JOIN series AS s USING (series_id) WHERE s.site_id = %s AND s.quantity = 'ph'
"""
# Two anomalies of one series that overlap in time would be one disturbance reported twice.
ANOMALIES = """
SELECT count(*), count(*) FILTER (WHERE EXISTS (
    SELECT FROM anomaly AS other
    WHERE other.series_id = a.series_id AND other.anomaly_id <> a.anomaly_id AND other.state <> 'withdrawn'
        AND other.start <= coalesce(a."end", a.start) AND a.start <= coalesce(other."end", other.start)))
FROM anomaly AS a WHERE a.series_id IS NOT NULL AND a.state <> 'withdrawn'
"""
INCIDENTS = """
SELECT count(DISTINCT incident_id), count(*) FILTER (WHERE incident_id IS NULL AND role <> 'suppressed')
FROM incident_anomaly
"""
ANOMALIES_WITHOUT_INCIDENT = """
SELECT count(*) FROM anomaly AS a
WHERE state <> 'withdrawn'
    AND NOT EXISTS (SELECT FROM incident_anomaly AS i WHERE i.anomaly_id = a.anomaly_id)
"""
ROLLUPS = """
WITH counted AS (
    SELECT series_id, date_bin(%(width)s::interval, "time", 'epoch') AS bucket, count(*) AS readings
    FROM reading GROUP BY 1, 2)
SELECT count(*), count(*) FILTER (WHERE c.readings IS DISTINCT FROM r.count)
FROM counted AS c FULL JOIN {table} AS r USING (series_id, bucket)
"""


class LedgerCounts(NamedTuple):
    """Counts after a run.

    Attributes
    ----------
    taken : readings that the spools took
    stored : rows of readings
    lost : readings taken that are neither stored, nor dead letters, nor in a spool
    doubled : rows beyond the first of a reading
    altered : readings stored with another value, or at a time that was never published
    dead_letters_of_readings : readings in the dead letters
    waiting : readings still in a spool
    poison, poison_found : malformed payloads published, and those among them in the dead letters
    anomalies, anomalies_doubled : anomalies of series, and those that overlap another of their series
    incidents, anomalies_without_incident : incidents, and anomalies that were not assigned
    rollups, rollups_different : rows of rollups, and those whose count differs from the readings
    judged, flags_different : readings judged by ingest, and those that an uninterrupted judge flags otherwise
    states_different : series whose detector state differs from that of the uninterrupted judge
    answered, answered_lost : uploads of the station that its server has answered, and those not stored
    county_readings : readings that the county holds
    county_days_different : days of a series whose readings and flags differ between town and county
    county_anomalies_different, county_incidents_different : rows of either that the other does not have
    city_readings, city_rows_different : the same of the city, all kinds together; 0 without one

    """

    taken: int
    stored: int
    lost: int
    doubled: int
    altered: int
    dead_letters_of_readings: int
    waiting: int
    poison: int
    poison_found: int
    anomalies: int
    anomalies_doubled: int
    incidents: int
    anomalies_without_incident: int
    rollups: int
    rollups_different: int
    judged: int
    flags_different: int
    states_different: int
    answered: int
    answered_lost: int
    county_readings: int
    county_days_different: int
    county_anomalies_different: int
    county_incidents_different: int
    city_readings: int
    city_rows_different: int

    @property
    def faults(self) -> list[str]:
        """Sentences on everything that broke a promise; empty if nothing did."""
        broken = {
            "readings lost": self.lost,
            "rows doubled": self.doubled,
            "readings altered": self.altered,
            "malformed payloads not in the dead letters": self.poison - self.poison_found,
            "anomalies doubled": self.anomalies_doubled,
            "anomalies without an incident": self.anomalies_without_incident,
            "rollups that differ from the readings": self.rollups_different,
            "flags that differ from a replay": self.flags_different,
            "detector states that differ from a replay": self.states_different,
            "answered uploads lost": self.answered_lost,
            "days of a series that differ at the county": self.county_days_different,
            "anomalies that differ at the county": self.county_anomalies_different,
            "incidents that differ at the county": self.county_incidents_different,
            "rows that differ at the city": self.city_rows_different,
        }
        return [f"{count:,} {name}" for name, count in broken.items() if count]


def count(platform: LedgerPlatform, poison: list[bytes]) -> LedgerCounts:
    """Wait until the HJ 212 server and the service have caught up, and count.

    Parameters
    ----------
    platform : of the run; all agents have ended
    poison : malformed payloads that were published

    """
    platform.station.stop()
    _wait_for_station_server(platform)
    with ExitStack() as stack:
        towns = {
            stack.enter_context(psycopg.connect(dsn, autocommit=True)): agents
            for dsn, agents in platform.town_databases.items()
        }
        for one in towns:
            _wait_for_service(one)
        per_device = [count_device(one, agent) for one, agents in towns.items() for agent in agents]
        taken, stored, lost, doubled, altered, dead, waiting = (
            sum(one) for one in zip(*per_device, strict=True)
        )
        main = next(iter(towns))
        uploaded = count_uploads(main, platform.station.answered, platform.start_s)
        replayed = _add(_replay(dsn) for dsn in platform.town_databases)
        county, city = _compare_upper_levels(platform)
        found = "SELECT count(DISTINCT payload) FROM dead_letter WHERE payload = ANY (%(poison)s)"
        anomalies = _add(_one(one, ANOMALIES) for one in towns)
        rollups = _add(
            _one(one, ROLLUPS.format(table=table), width=width)
            for table, width in (("rollup_1min", "1 minute"), ("rollup_1h", "1 hour"))
            for one in towns
        )
        return LedgerCounts(
            taken=taken,
            stored=stored,
            lost=lost,
            doubled=doubled + uploaded.doubled,
            altered=altered + uploaded.altered,
            dead_letters_of_readings=dead,
            waiting=waiting,
            poison=len(poison),
            poison_found=_one(main, found, poison=poison)[0],
            anomalies=anomalies[0],
            anomalies_doubled=anomalies[1],
            incidents=_add(_one(one, INCIDENTS) for one in towns)[0],
            anomalies_without_incident=_add(_one(one, ANOMALIES_WITHOUT_INCIDENT) for one in towns)[0],
            rollups=rollups[0],
            rollups_different=rollups[1],
            judged=replayed[0],
            flags_different=replayed[1],
            states_different=replayed[2],
            answered=platform.station.answered,
            answered_lost=uploaded.lost,
            county_readings=county.readings,
            county_days_different=county.days_different,
            county_anomalies_different=county.anomalies_different,
            county_incidents_different=county.incidents_different,
            city_readings=city.readings,
            city_rows_different=sum(city[1:]),
        )


def _add(counts: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(sum(one) for one in zip(*counts, strict=True))


def _compare_upper_levels(platform: LedgerPlatform) -> tuple[UpperComparison, UpperComparison]:
    """Compare county and city with the towns; a city without a platform has no rows that differ."""
    towns = list(platform.town_databases)
    county = compare_upper_level(towns, platform.county_dsn)
    if platform.other_towns is None:
        return county, UpperComparison()
    return county, compare_upper_level(towns, platform.other_towns.databases.city)


def _replay(dsn: str) -> ReplayComparison:
    store = PostgresStore.open(dsn)
    try:
        return compare_with_replay(store)
    finally:
        store.close()


def _wait_for_station_server(platform: LedgerPlatform) -> None:
    """Wait until the server has published what it has answered and has the receipts."""
    until_s = time.monotonic() + STATION_TIMEOUT_S
    while count_waiting_messages(platform.folder / STATION_SPOOL) and time.monotonic() < until_s:
        time.sleep(0.5)


def _wait_for_service(connection: psycopg.Connection[Any]) -> None:
    """Wait until rollups are made and each anomaly has its incident, or until the time is over."""
    until_s = time.monotonic() + ROLLUP_TIMEOUT_S
    while time.monotonic() < until_s:
        due = _one(connection, "SELECT count(*) FROM rollup_due")[0]
        if not due and not _one(connection, ANOMALIES_WITHOUT_INCIDENT)[0]:
            return
        time.sleep(0.5)


def count_device(connection: psycopg.Connection[Any], agent: AgentProcess) -> tuple[int, ...]:
    """Return taken, stored, lost, doubled, altered, dead and waiting readings of a device."""
    rows = connection.execute(READINGS, [agent.device_id]).fetchall()
    return count_rows(rows, agent, _dead_numbers(connection, agent))


def count_rows(rows: list[tuple[Any, ...]], agent: AgentProcess, dead: NDArray[np.intp]) -> tuple[int, ...]:
    """Return taken, stored, lost, doubled, altered, dead and waiting readings of a device.

    Parameters
    ----------
    rows : of the device's readings: time of measurement, Unix seconds [s], and value
    agent : has ended
    dead : (n,) numbers of its readings in dead letters

    """
    spool = Spool.open(agent.folder / "spool", spool_settings())
    try:
        taken, waiting = spool.newest() * PACK_READINGS, spool.waiting * PACK_READINGS
        in_spool = _spooled_numbers(spool, agent.start_s)
    finally:
        spool.close()
    found = np.array(rows, np.float64).reshape(-1, 2)
    numbers = (found[:, 0] - agent.start_s) / INTERVAL_S
    known = (numbers == np.rint(numbers)) & (numbers >= 0) & (numbers < taken)
    stored = np.unique(numbers[known].astype(np.intp))
    expected_values = np.array([value_of(one) for one in numbers[known].astype(int).tolist()])
    altered = int((~known).sum() + (np.abs(found[known, 1] - expected_values) > 1e-9).sum())
    accounted = np.unique(np.concatenate([stored, dead, in_spool]))
    lost = taken - int((accounted < taken).sum())
    return taken, len(found), lost, int(known.sum()) - len(stored), altered, len(dead), waiting


class UploadCounts(NamedTuple):
    """Answered uploads of the station that are not stored, rows beyond the first, rows with another value."""

    lost: int
    doubled: int
    altered: int


def count_uploads(connection: psycopg.Connection[Any], answered: int, start_s: int) -> UploadCounts:
    """Count the station's uploads; the last one may be stored without an answer.

    Parameters
    ----------
    connection : to the database
    answered : number of uploads that have an answer; they are numbered from 0
    start_s : time of measurement of the reading with number 0, Unix seconds [s]

    """
    rows = np.array(connection.execute(READINGS, [STATION_DEVICE]).fetchall(), np.float64).reshape(-1, 2)
    numbers = (rows[:, 0] - start_s) / INTERVAL_S
    known = (numbers == np.rint(numbers)) & (numbers >= 0) & (numbers <= answered)
    stored = np.unique(numbers[known].astype(np.intp))
    values = np.array([value_of(one) for one in numbers[known].astype(int).tolist()])
    altered = int((~known).sum() + (np.abs(rows[known, 1] - values) > 1e-9).sum())
    return UploadCounts(answered - int((stored < answered).sum()), int(known.sum()) - len(stored), altered)


def _dead_numbers(connection: psycopg.Connection[Any], agent: AgentProcess) -> NDArray[np.intp]:
    """Return the numbers of a device's readings in dead letters; malformed payloads have none."""
    rows = connection.execute(
        "SELECT payload, content_type FROM dead_letter WHERE topic LIKE %s", [f"%/{agent.device_id}/data"]
    )
    numbers: set[int] = set()
    for payload, content_type in rows:
        try:
            records = senml.decode(bytes(payload), content_type=content_type or "", now_s=0)
        except PayloadError:
            continue
        numbers |= {round((one.time_s - agent.start_s) / INTERVAL_S) for one in records}
    return np.array(sorted(numbers), np.intp)


def _spooled_numbers(spool: Spool, start_s: int) -> NDArray[np.intp]:
    numbers: list[int] = []
    after = 0
    while messages := spool.after(after, 1000):
        after = messages[-1].number
        for one in messages:
            records = senml.decode(one.payload, content_type=CONTENT_TYPE, now_s=0)
            numbers += [round((record.time_s - start_s) / INTERVAL_S) for record in records]
    return np.array(numbers, np.intp)


def _one(connection: psycopg.Connection[Any], query: str, **parameters: Any) -> tuple[int, ...]:
    row = connection.execute(query.encode(), parameters or None).fetchone()
    assert row is not None
    return tuple(int(one) for one in row)
