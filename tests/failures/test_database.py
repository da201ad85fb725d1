"""Tests that each reading is stored once through every kind of database failure."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from ingest_service.storage.contract.models import DeadLetterQuery
from tests.support.network_fault_rig import (
    WITHIN_S,
    NetworkFaultRig,
    run_with_failure,
    superuser_connection,
    wait_for_log,
)
from tests.support.processes import running_processes, wait_until
from tests.support.small_disk import fill, small_disk
from tests.support.throwaway_servers import fresh_database, frozen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)
SMALL_DISK_BYTES = 96 << 20
DISK_TICKS = 1500  # twice as many readings: some pages of the table remain to be written
STALL_S = 2.0  # shorter than any time-out


@pytest.fixture
def rig(timescale_dsn: str, mosquitto: Any, tmp_path: Path) -> Iterator[NetworkFaultRig]:
    with NetworkFaultRig(tmp_path, timescale_dsn, mosquitto) as one:
        yield one


def test_gone_for_a_while(rig: NetworkFaultRig) -> None:
    def fail() -> None:
        rig.database_network.refuse()
        (ingest,) = rig.ingests
        wait_for_log(ingest, "store_unavailable")
        before = rig.receipted()
        wait_for_log(ingest, "error connecting", times=3)
        n_stored = len(rig.stored())
        assert before <= rig.receipted() <= n_stored < len(rig.published), "receipts of what is not stored"
        rig.database_network.restore()

    run_with_failure(rig, fail)


def test_restarted(rig: NetworkFaultRig, timescale_server: Any) -> None:
    def fail() -> None:
        for _ in range(2):
            timescale_server.stop()
            timescale_server.start()
            rig.wait_for_more()

    run_with_failure(rig, fail)


def test_connections_terminated(rig: NetworkFaultRig) -> None:
    def fail() -> None:
        ended, until_s = 0, time.monotonic() + WITHIN_S
        with superuser_connection(rig.dsn) as connection:
            while ended < 10 and time.monotonic() < until_s:
                ended += connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name = 'towntwin'"
                    " AND pid <> pg_backend_pid()"
                ).rowcount
                time.sleep(0.1)
        assert ended >= 10, "of the two connections, several times"

    run_with_failure(rig, fail)


def test_read_only(rig: NetworkFaultRig) -> None:
    def set_read_only(value: str) -> None:
        with superuser_connection(rig.dsn) as connection:
            name = connection.info.dbname
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {value}")
        rig.database_network.cut()

    def fail() -> None:
        set_read_only("on")
        wait_for_log(rig.ingests[0], "25006", times=2)
        set_read_only("off")

    run_with_failure(rig, fail)


def test_disk_full(timescale_server: Any, mosquitto: Any, tmp_path: Path) -> None:
    with (
        small_disk(timescale_server, SMALL_DISK_BYTES) as (tablespace, filler),
        fresh_database(timescale_server, tablespace=tablespace) as dsn,
        NetworkFaultRig(tmp_path, dsn, mosquitto, ticks=DISK_TICKS) as rig,
    ):
        ingest = rig.ingest()
        with running_processes(ingest):
            rig.publish(kept=0.1)
            fill(filler)
            wait_for_log(ingest, "53100", times=2)
            filler.unlink()
            rig.finish()
            assert ingest.stop() == 0
        rig.ledger()


def test_a_reserve_keeps_the_disk_from_filling_up(
    timescale_server: Any, mosquitto: Any, tmp_path: Path
) -> None:
    with (
        small_disk(timescale_server, SMALL_DISK_BYTES) as (tablespace, filler),
        fresh_database(timescale_server, tablespace=tablespace) as dsn,
        NetworkFaultRig(tmp_path, dsn, mosquitto, ticks=DISK_TICKS) as rig,
    ):
        free_bytes = free_space(filler.parent)
        reserve = free_bytes // 2
        ingest = rig.ingest(
            TOWNTWIN_INGEST_DISK_FOLDER=f"{tmp_path},{filler.parent}",
            TOWNTWIN_INGEST_DISK_RESERVE_BYTES=str(reserve),
        )
        inside = timescale_server.installation.inside(filler.parent / "data")
        assert str(inside) in rig.store.disk_folders(), "a tablespace has a disk of its own"
        with running_processes(ingest):
            rig.publish(kept=0.1)
            filler.write_bytes(bytes(free_space(filler.parent) - reserve + (1 << 20)))
            wait_for_log(ingest, "disk_reserve_reached")
            wait_until(lambda: fault_of_ingest(rig) == "disk", within_s=WITHIN_S, what="health shows it")
            before = rig.receipted()
            time.sleep(1)
            assert rig.receipted() == before < len(rig.published), "nothing is acknowledged"
            assert "53100" not in ingest.log.read_text()
            filler.unlink()
            rig.finish()
            assert fault_of_ingest(rig) == ""
            assert ingest.stop() == 0
        rig.ledger()


def free_space(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def fault_of_ingest(rig: NetworkFaultRig) -> str:
    (one,) = [it for it in rig.store.processes() if it.kind == "ingest"]
    return "" if one.works else one.why


def test_slow(rig: NetworkFaultRig) -> None:
    def fail() -> None:
        rig.database_network.delay_s = 0.1
        for _ in range(3):
            rig.wait_for_more()
        rig.database_network.restore()

    run_with_failure(rig, fail)


def test_network_without_an_answer(rig: NetworkFaultRig) -> None:
    """Nothing is closed, nothing comes: both ends give the connection up, and its locks with it."""
    run_with_failure(rig, rig.database_network.stall_forever, TOWNTWIN_STORAGE_ANSWER_TIMEOUT_S="1.5")


def test_network_stalled(rig: NetworkFaultRig) -> None:
    """Nothing comes for some seconds, then everything: it is waited for."""

    def fail() -> None:
        rig.database_network.stall()
        time.sleep(STALL_S)
        rig.database_network.restore()

    assert "store_unavailable" not in run_with_failure(rig, fail).log.read_text()


def test_server_frozen(rig: NetworkFaultRig, timescale_server: Any) -> None:
    def fail() -> None:
        with frozen(timescale_server.pid):
            wait_for_log(rig.ingests[0], "store_unavailable", times=2)

    run_with_failure(rig, fail, TOWNTWIN_STORAGE_ANSWER_TIMEOUT_S="1.5")


def test_deadlock(rig: NetworkFaultRig) -> None:
    """Somebody holds the second series' latest value and, once ingest holds the first's, wants that."""

    def waiters(connection: psycopg.Connection[Any]) -> int:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock'"
        ).fetchone()
        return row[0] if row else 0

    def fail() -> None:
        touch = "UPDATE latest SET value = value WHERE series_id = %s"
        with superuser_connection(rig.dsn) as watching, psycopg.connect(rig.dsn) as other:
            other.execute("SET deadlock_timeout = '1h'")  # ingest is to be the victim
            # Again where a batch without the first series was caught: it holds nothing that is wanted here.
            while not any("40P01" in one.log.read_text() for one in rig.ingests):
                other.execute(touch, (2,))
                wait_until(lambda: waiters(watching) > 0, within_s=WITHIN_S, what="ingest waits for the lock")
                other.execute(touch, (1,))
                other.rollback()
                time.sleep(0.2)

    assert "40P01" in run_with_failure(rig, fail).log.read_text()


def test_cut_in_the_middle_of_copy(rig: NetworkFaultRig) -> None:
    def fail() -> None:
        for _ in range(3):
            trap = rig.database_network.cut_after(b"PGCOPY\n")
            assert trap.sprung.wait(WITHIN_S)

    run_with_failure(rig, fail)


def test_cut_between_commit_and_its_answer(rig: NetworkFaultRig) -> None:
    """The database has it, and nobody was told: it is sent again, and known as a repeat."""

    def fail() -> None:
        for _ in range(3):
            trap = rig.database_network.cut_after(b"PGCOPY\n", b"COMMIT", answer_lost=True)
            assert trap.sprung.wait(WITHIN_S)

    run_with_failure(rig, fail)


def test_a_poisoned_reading_sinks_alone(rig: NetworkFaultRig) -> None:
    """One value of a whole batch is refused for good: its message is found, its neighbours are stored."""
    with superuser_connection(rig.dsn) as connection:
        connection.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            "  IF NEW.series_id = 1 AND extract(epoch FROM NEW.time)::bigint % 200 = 7 THEN"
            "    RAISE 'this one is poisoned'; END IF; RETURN NEW; END $$;"
            "CREATE TRIGGER refuse BEFORE INSERT ON reading FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    ingest = rig.ingest()
    with running_processes(ingest):
        rig.publish()
        rig.finish()
        assert ingest.stop() == 0
    rig.ledger(dead=3)
    for one in rig.store.dead_letters(DeadLetterQuery()):
        assert one.reason == "store"
        assert "this one is poisoned" in one.detail


def test_a_constraint_clash_is_replayed_once_mended(
    timescale_dsn: str, mosquitto: Any, tmp_path: Path
) -> None:
    """A series whose latest value can't be kept: its messages are letters, and the other's are stored."""
    with NetworkFaultRig(tmp_path, timescale_dsn, mosquitto, ticks=40, receipt_timeout_s=30) as rig:
        clash(rig)


def clash(rig: NetworkFaultRig) -> None:
    with superuser_connection(rig.dsn) as connection:
        connection.execute("ALTER TABLE latest ADD CONSTRAINT no_turbidity CHECK (series_id <> 2)")
    ingest = rig.ingest()
    with running_processes(ingest):
        rig.publish()
        rig.finish()
        rig.ledger(dead=len(rig.published) // 2)
        with superuser_connection(rig.dsn) as connection:
            connection.execute("ALTER TABLE latest DROP CONSTRAINT no_turbidity")
        assert rig.store.request_replay(DeadLetterQuery(reason="store")) == len(rig.published) // 2
        wait_until(
            lambda: not rig.store.dead_letters(DeadLetterQuery()), within_s=WITHIN_S, what="all are replayed"
        )
        assert ingest.stop() == 0
    rig.ledger()
