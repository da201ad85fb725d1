"""Tests that a county has all anomalies and history of incidents that change while they are forwarded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from analytics.incidents.edits import record
from ingest_service.federation.policy import Policy
from ingest_service.storage.contract.incidents import Incident, IncidentAnomaly, IncidentUpdate
from ingest_service.storage.contract.models import AnomalyQuery, Device, Directory
from ingest_service.storage.postgres.incidents import Incidents
from ingest_service.storage.postgres.migrate import migrate
from tests.support.federated_pair import FederatedPair
from tests.support.federated_towns import AREAS, BOX, TOWN
from tests.support.federation_rows import INCIDENTS, opened, rows_of
from tests.support.store_samples import DIRECTORY, START_US, anomaly
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest_service.storage.postgres.store import PostgresStore

POLICY = Policy(area=TOWN, device=BOX, history_days=36_500)
AT_S = START_US / 1e6


class SendingTown:
    """A town whose incidents are changed, and its line to the county."""

    def __init__(self, store: PostgresStore, county: PostgresStore, dsn: str, county_dsn: str) -> None:
        self._store, self._incidents = store, Incidents(store)
        self._dsns = dsn, county_dsn
        self.line = FederatedPair(store, county, POLICY)

    def open(self, *, parent_id: int | None = None) -> int:
        """Open an incident with an entry and an anomaly; return its id."""
        fresh = Incident(
            area_id=TOWN,
            area_ids=[TOWN],
            main_site_id="s1",
            kind="water",
            cause="sewage",
            priority=2,
            started_s=AT_S,
            last_s=AT_S,
            opened_s=AT_S,
            parent_id=parent_id,
        )
        entries = [record("open", who="service", at_s=AT_S)]
        (stored,) = self._incidents.apply(
            [IncidentUpdate(incident=fresh, entries=entries, members=[self._anomaly()])]
        )
        return stored.incident_id

    def change(self, incident_id: int, *entries: str) -> None:
        """Add an anomaly and entries to an incident."""
        now = self._incidents.incident(incident_id)
        assert now is not None
        added = [record(one, who="service", at_s=AT_S + number) for number, one in enumerate(entries)]
        self._incidents.apply([IncidentUpdate(incident=now, entries=added, members=[self._anomaly()])])

    def assert_county_is_equal(self) -> None:
        self.line.forward()
        town, county = (rows_of(one, INCIDENTS) for one in self._dsns)
        assert sorted(map(str, county)) == sorted(map(str, town))

    def _anomaly(self) -> IncidentAnomaly:
        number = self._store.count_anomalies(AnomalyQuery()) + 1
        one = anomaly(start_s=AT_S + number, peak_s=AT_S + number, end_s=AT_S + number, state="closed")
        self._store.record_anomalies([one])
        stored = max(self._store.anomalies(AnomalyQuery()), key=lambda found: found.start_s)
        return IncidentAnomaly(
            anomaly_id=stored.anomaly_id,
            incident_id=None,
            site_id="s1",
            role="joined",
            reason="first",
            reason_en="x",
            reason_zh="x",
            anomaly_revision=stored.revision,
            state="closed",
            start_s=stored.start_s,
            end_s=stored.end_s,
        )


@pytest.fixture
def town(timescale_dsn: str, timescale_server: Any) -> Iterator[SendingTown]:
    migrate(timescale_dsn)
    with (
        fresh_database(timescale_server) as county_dsn,
        opened(timescale_dsn) as store,
        opened(county_dsn) as county,
    ):
        county.enrol(Directory(areas=AREAS, devices=[Device(device_id=BOX, area_id=TOWN, kind="federation")]))
        store.enrol(DIRECTORY)
        yield SendingTown(store, county, timescale_dsn, county_dsn)


def test_entries_of_an_incident_changed_again_behind_many_others_are_forwarded(
    town: SendingTown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest_service.federation.block_reader.INCIDENTS_PER_BLOCK", 2)
    first = town.open()
    for _ in range(3):
        town.open()
    town.change(first, "comment")
    town.assert_county_is_equal()
    town.change(first, "assign", "comment again")
    town.assert_county_is_equal()


def test_what_changes_between_two_reads_of_a_block_is_forwarded(
    town: SendingTown, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, other = town.open(), town.open()
    town.assert_county_is_equal()
    town.change(other, "comment")
    town.open(parent_id=parent)
    feed = town.line._reader._incident_feed
    changed = feed.changed

    def changed_meanwhile(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(feed, "changed", changed)
        town.change(parent, "join")
        town.change(other, "assign")
        return changed(*args, **kwargs)

    monkeypatch.setattr(feed, "changed", changed_meanwhile)
    town.assert_county_is_equal()


def test_a_long_history_comes_in_several_messages(town: SendingTown) -> None:
    incident = town.open()
    town.change(incident, *(f"comment {number}" for number in range(450)))
    town.assert_county_is_equal()
    entries = [
        len(msgspec.json.decode(one.payload)["incidents"][0]["entries"])
        for one in town.line.sent
        if b'"kind":"incidents"' in one.payload
    ]
    assert entries == [200, 200, 51]
    town.line.repeat()
    town.assert_county_is_equal()
