"""Tests that faults of the platform are anomalies and incidents, which open and close by themselves, once."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import pytest
from prometheus_client import REGISTRY

from analytics.service.self_watch import DETECTOR, watch_platform
from analytics.service.service_state import ServiceState
from analytics.service.settings import Settings
from deploy.backup.backup_folder import BackupFolder
from deploy.device_access.certificate_authority import CertificateAuthority
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.incidents import IncidentQuery
from ingest_service.storage.contract.models import AnomalyQuery, Channel, DeadLetter, DeviceStatus
from ingest_service.storage.postgres.incidents import Incidents
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.incident_world import maintain, town
from tests.support.process_heartbeats import alive
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ingest_service.storage.contract.models import Anomaly

HOLD_S, CLEAR_S = 120.0, 60.0
SHOWN_WITHIN_S = 20.0


class WatchedTown:
    """A town on a real database, whose platform is watched at chosen times."""

    def __init__(self, store: PostgresStore) -> None:
        self.store = store
        self.state = ServiceState()
        self.settings = Settings(watch_after_s=HOLD_S, watch_clear_s=CLEAR_S)
        self.now_s = time.time()

    def after(self, seconds: float = 0.0) -> dict[str, Anomaly]:
        """Look again so much later; return the newest anomaly of each subject."""
        self.now_s += seconds
        self.state.watch.due_s = 0.0
        watch_platform(self.store, self.settings, service_state=self.state, now_s=self.now_s)
        found = self.store.anomalies(AnomalyQuery(detectors=[DETECTOR]))
        return {one.subject: one for one in sorted(found, key=lambda one: one.start_s)}

    def states(self, seconds: float = 0.0) -> dict[str, str]:
        return {subject: str(one.state) for subject, one in self.after(seconds).items()}

    def incidents(self) -> dict[str, str]:
        """Cause and alarm state of the incidents."""
        maintain(self.store, ServiceState())
        return {
            one.cause: str(one.alarm_state) for one in Incidents(self.store).found(IncidentQuery(limit=100))
        }

    def set_clocks(self, **offsets_s: float) -> None:
        self.store.commit(
            Batch(
                statuses=[
                    DeviceStatus(
                        device_id=f"a-{name}", received_s=time.time(), status={}, clock_offset_s=offset
                    )
                    for name, offset in offsets_s.items()
                ]
            )
        )


@pytest.fixture
def watched(plain_dsn: str) -> Iterator[WatchedTown]:
    migrate(plain_dsn)
    store = PostgresStore.open(plain_dsn)
    directory = town("a", sections=5)
    channels = [Channel(device_id=f"a-r{k}", name="ph", site_id=f"a-r{k}", quantity="ph") for k in range(5)]
    store.enrol(msgspec.structs.replace(directory, channels=channels))
    yield WatchedTown(store)
    store.close()


def test_a_stuck_process_is_an_incident_until_it_works_again(watched: WatchedTown) -> None:
    with alive(watched.store, every_s=0.1) as pulses:
        assert watched.states(HOLD_S) == {}
        pulses["ingest"].waiting_for("broker")
        wait_until(lambda: _state(watched, "ingest") == "stuck", within_s=SHOWN_WITHIN_S, what="it is stuck")
        assert watched.states() == {}
        assert watched.states(HOLD_S - 1) == {}, "a short fault is no anomaly"
        one = watched.after(2)["platform/process/ingest"]
        assert (one.state, one.severity) == ("open", 3)
        assert one.start_s == pytest.approx(watched.now_s - HOLD_S - 1, abs=1e-3)
        assert "broker" in one.reason_en
        assert "消息代理" in one.reason_zh
        assert watched.incidents() == {"ingest_down": "unacknowledged"}
        revision = watched.store.newest_revision()
        watched.after(HOLD_S)
        assert watched.store.newest_revision() == revision, "what lasts is recorded once"
        pulses["ingest"].loop_advanced()
        wait_until(lambda: _state(watched, "ingest") == "alive", within_s=SHOWN_WITHIN_S, what="it works")
        assert watched.states(1) == {"platform/process/ingest": "open"}
        assert watched.states(CLEAR_S + 1) == {"platform/process/ingest": "closed"}


def _state(watched: WatchedTown, kind: str) -> str:
    return next(str(one.state) for one in watched.store.processes() if one.kind == kind)


def test_lagging_rollups_are_an_anomaly_until_they_caught_up(watched: WatchedTown) -> None:
    state = watched.state.watch
    state.rolled_up_s = time.monotonic() - watched.settings.watch_rollups_s - 60
    assert watched.states() == {"platform/rollups": "open"}
    assert watched.incidents() == {"rollups_behind": "unacknowledged"}
    state.rolled_up_s = time.monotonic() - 0.7 * watched.settings.watch_rollups_s
    assert watched.states(10 * CLEAR_S) == {"platform/rollups": "open"}, "between the limits nothing changes"
    state.rolled_up_s = time.monotonic()
    assert watched.states(1) == {"platform/rollups": "open"}
    assert watched.states(CLEAR_S) == {"platform/rollups": "closed"}
    state.rolled_up_s = time.monotonic() - 0.7 * watched.settings.watch_rollups_s
    assert watched.states(10 * CLEAR_S) == {"platform/rollups": "closed"}


def test_growing_dead_letters_are_an_anomaly_until_no_more_come(watched: WatchedTown) -> None:
    limit = watched.settings.watch_dead_letters

    def receive(count: int) -> None:
        watched.store.commit(
            Batch(
                dead_letters=[
                    DeadLetter(
                        received_s=watched.now_s,
                        topic="towntwin/v1/a/a-r0/data",
                        payload=b"%f %d" % (watched.now_s, at),
                        reason="decode",
                        detail="x",
                    )
                    for at in range(count)
                ]
            )
        )

    receive(limit - 1)
    assert watched.states() == {}
    receive(1)
    one = watched.after(1)["platform/dead_letters"]
    assert (one.state, one.score) == ("open", limit)
    assert watched.incidents() == {"dead_letters": "unacknowledged"}
    assert watched.states(700) == {"platform/dead_letters": "open"}
    assert watched.states(CLEAR_S) == {"platform/dead_letters": "closed"}


def test_a_certificate_that_ends_is_an_anomaly_until_it_is_renewed(
    watched: WatchedTown, tmp_path: Path
) -> None:
    path, authority = tmp_path / "broker.crt", CertificateAuthority.create("town")
    watched.settings = Settings(watch_certificates=[str(path)], watch_clear_s=CLEAR_S)
    path.write_bytes(authority.issue_server(["h"], days=100)[0])
    subject = "platform/certificate/broker.crt"
    assert watched.states() == {}
    one = watched.after(71 * 86_400.0)[subject]
    assert (one.state, one.severity) == ("open", 2)
    assert "ends in 29 days" in one.reason_en
    graver = watched.after(24 * 86_400.0)[subject]
    assert (graver.state, graver.severity, graver.start_s) == ("open", 3, one.start_s)
    assert watched.incidents() == {"certificate_ends": "unacknowledged"}
    path.write_bytes(authority.issue_server(["h"], days=400)[0])
    watched.after()
    assert watched.states(CLEAR_S) == {subject: "closed"}
    path.unlink()
    assert watched.states() == {subject: "open"}, "one that can't be read is no certificate"


def test_a_devices_certificate_that_ends_is_an_anomaly_until_it_has_a_new_one(watched: WatchedTown) -> None:
    subject = "device/a-r1/certificate"
    with watched.store.transaction() as connection:
        connection.execute(
            "INSERT INTO enrolment"
            " (area_id, device_id, state, credential, access, certificate_ends, held_ends)"
            " SELECT area_id, device_id, 'confirmed', 'certificate', 'granted', now() + interval '700 days',"
            " now() + interval '31 days' FROM device WHERE device_id = 'a-r1'"
        )
    assert watched.states() == {}
    one = watched.after(2 * 86_400.0)[subject]
    assert (one.state, one.severity, one.device_id, one.site_id) == ("open", 2, "a-r1", "a-r1")
    assert "ends in 29 days" in one.reason_en
    assert watched.after(24 * 86_400.0)[subject].severity == 3
    assert watched.incidents() == {"certificate_ends": "unacknowledged"}
    with watched.store.transaction() as connection:
        connection.execute("UPDATE enrolment SET held_ends = certificate_ends")
    assert watched.states() == {subject: "closed"}


def test_an_old_backup_is_an_anomaly_until_the_next_one(watched: WatchedTown, tmp_path: Path) -> None:
    watched.settings = Settings(
        watch_backups=tmp_path, watch_after_s=HOLD_S, watch_clear_s=CLEAR_S, watch_backups_h=2.0
    )
    folder = BackupFolder(tmp_path, bytes(32))
    subject = "platform/backups"
    folder.record_run(datetime.fromtimestamp(watched.now_s, UTC))
    assert watched.states() == {}
    assert watched.states(2.1 * 3600) == {}, "not yet for long enough"
    one = watched.after(HOLD_S)[subject]
    assert (one.state, "the last backup is 2 h old" in one.reason_en) == ("open", True)
    assert watched.incidents() == {"backup_old": "unacknowledged"}
    labels = {"cause": "backup_old", "subject": subject}
    assert REGISTRY.get_sample_value("towntwin_service_watched_problem", labels) == 1.0
    folder.record_run(datetime.fromtimestamp(watched.now_s, UTC))
    watched.after()
    assert REGISTRY.get_sample_value("towntwin_service_watched_problem", labels) == 0.0
    assert watched.states(CLEAR_S) == {subject: "closed"}
    (tmp_path / "last-run").unlink()
    watched.after()
    assert "no backup can be seen" in watched.after(HOLD_S)[subject].reason_en


def test_a_disk_that_fills_up_is_an_anomaly_until_it_has_space(watched: WatchedTown, tmp_path: Path) -> None:
    free_bytes = shutil.disk_usage(tmp_path).free
    few = Settings(watch_backups=tmp_path, watch_after_s=HOLD_S, watch_clear_s=CLEAR_S, watch_backups_h=1e6)
    BackupFolder(tmp_path, bytes(32)).record_run(datetime.fromtimestamp(watched.now_s, UTC))
    subject = f"platform/disk/{tmp_path}"
    watched.settings = msgspec.structs.replace(few, watch_disk_bytes=4 * free_bytes)
    assert watched.states() == {}
    one = watched.after(HOLD_S)[subject]
    assert (one.state, "GiB left" in one.reason_en) == ("open", True)
    assert watched.incidents() == {"disk_full": "unacknowledged"}
    watched.settings = msgspec.structs.replace(few, watch_disk_bytes=free_bytes // 3)
    watched.after()
    assert watched.states(CLEAR_S) == {subject: "closed"}


def test_a_devices_wrong_clock_is_its_own_and_those_of_most_are_the_platforms(watched: WatchedTown) -> None:
    watched.set_clocks(r0=7200.0, r1=0.5, r2=-1.0, r3=2.0)
    assert watched.states() == {}
    watched.after(HOLD_S)
    one = watched.after()["device/a-r0/clock"]
    assert (one.state, one.device_id, one.site_id) == ("open", "a-r0", "a-r0")
    assert "120 min fast" in one.reason_en
    assert watched.incidents() == {"wrong_clock": "unacknowledged"}
    watched.set_clocks(r0=200.0)
    assert watched.states(10 * CLEAR_S) == {"device/a-r0/clock": "open"}, "between the limits nothing changes"
    watched.set_clocks(r0=1.0)
    watched.after()
    assert watched.states(CLEAR_S) == {"device/a-r0/clock": "closed"}
    watched.set_clocks(r0=-500.0, r1=-510.0, r2=-505.0, r3=-507.0)
    watched.after()
    assert watched.states(HOLD_S) == {"device/a-r0/clock": "closed", "platform/clock": "open"}
    watched.set_clocks(r0=0.0, r1=0.0, r2=0.0, r3=0.0)
    watched.after()
    assert watched.states(CLEAR_S)["platform/clock"] == "closed"
