"""Tests `towntwin letters` while ingest runs: list, show, replay once, purge."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from ingest_service.storage.contract.models import DeadLetterQuery
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.audit_entries import audited_actions
from tests.support.mqtt_test_device import MqttTestDevice, pack
from tests.support.processes import PlatformProcess, run_command, running_processes, wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

WITHIN_S = 60.0
DATA = "towntwin/v1/330483-d1/r1/data"
SITE = """
[[areas]]
area_id = "330483-d1"
level = "town"
en = "Town"
zh = "镇"

[[sites]]
site_id = "r1"
area_id = "330483-d1"
kind = "river_section"
en = "Bridge"
zh = "桥"
lon = 120.52
lat = 30.60
quantities = ["ph"{more}]
"""


class Operator:
    """Somebody at a terminal, with a database, a running ingest, and a device out in the field."""

    def __init__(self, dsn: str, broker: Any, folder: Path) -> None:
        self.dsn, self.broker, self._folder = dsn, broker, folder
        migrate(dsn)
        self.store = PostgresStore.open(dsn)
        self.enrol()
        self.start_s = float(int(time.time()) - 3600)

    def towntwin(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return run_command(*args, "--dsn", self.dsn)

    def enrol(self, *more: str) -> None:
        """Enrol the site, with pH and more."""
        file = self._folder / "site.toml"
        file.write_text(SITE.replace("{more}", "".join(f', "{one}"' for one in more)))
        done = self.towntwin("enrol", str(file))
        assert (done.returncode, done.stderr) == (0, "")
        assert f"{1 + len(more)} series" in done.stdout

    def ingest(self, **environ: str) -> PlatformProcess:
        """The ingest process."""
        usual = {"TOWNTWIN_DSN": self.dsn, "TOWNTWIN_BROKER": self.broker.url}
        return PlatformProcess("ingest", log=self._folder / "ingest.log", **(usual | environ))

    def dead_letter_ids(self, **query: Any) -> list[int]:
        """Ids of letters, oldest first."""
        found = self.store.dead_letters(DeadLetterQuery(**query, limit=10**5))
        return [one.letter_id for one in reversed(found)]

    def stored(self, quantity: str) -> list[float]:
        """Measured times of what is stored, once for each row [s]."""
        ids = {one.quantity: one.series_id for one in self.store.directory().series}
        rows = self.store.readings(ids[quantity], self.start_s - 1e6, self.start_s + 1e6, limit=10**6)
        return [time_us / 1e6 for time_us in rows["time_us"].tolist()]

    def wait_for_dead_letters(self, n: int) -> None:
        """Wait until so many are there."""
        wait_until(lambda: len(self.dead_letter_ids()) == n, within_s=WITHIN_S, what=f"there are {n} letters")


@pytest.fixture
def operator(timescale_dsn: str, mosquitto: Any, tmp_path: Path) -> Iterator[Operator]:
    one = Operator(timescale_dsn, mosquitto, tmp_path)
    yield one
    one.store.close()


@contextmanager
def listening(ingest: PlatformProcess) -> Iterator[None]:
    """Ingest runs, and hears what is published."""
    before = ingest.log.read_text().count("subscribed") if ingest.log.exists() else 0
    with running_processes(ingest):
        wait_until(
            lambda: ingest.log.read_text().count("subscribed") > before,
            within_s=WITHIN_S,
            what="ingest is ready",
        )
        yield


def test_a_dead_letter_is_listed_shown_and_stored_once_its_channel_is_enrolled(operator: Operator) -> None:
    payload = pack("turbidity", "NTU", {operator.start_s: 17.5})
    with listening(operator.ingest()), MqttTestDevice(operator.broker, DATA) as device:
        device.send(payload)
        operator.wait_for_dead_letters(1)
        (letter_id,) = operator.dead_letter_ids()

        listed = operator.towntwin("letters", "list")
        assert listed.returncode == 0
        assert all(
            word in listed.stdout for word in (str(letter_id), DATA, "channel", "turbidity", "waiting")
        )
        shown = operator.towntwin("letters", "show", str(letter_id))
        assert shown.returncode == 0
        assert payload.decode() in shown.stdout
        assert "enrol it, then replay" in shown.stdout

        in_vain = operator.towntwin("letters", "replay", str(letter_id))
        assert (in_vain.returncode, in_vain.stdout[:9]) == (0, "1 letters")
        wait_until(
            lambda: [one.replays for one in operator.store.dead_letters(DeadLetterQuery())] == [1],
            within_s=WITHIN_S,
            what="it was replayed in vain",
        )
        (dead_letter,) = operator.store.dead_letters(DeadLetterQuery())
        assert (dead_letter.letter_id, dead_letter.state, dead_letter.payload) == (
            letter_id,
            "waiting",
            payload,
        )
        assert operator.towntwin("letters", "list").stdout.count("turbidity") == 1

        operator.enrol("turbidity")
        assert operator.towntwin("letters", "replay", "--reason", "channel").returncode == 0
        operator.wait_for_dead_letters(0)
        assert operator.stored("turbidity") == [operator.start_s]

        again = operator.towntwin("letters", "replay", str(letter_id))
        assert (again.returncode, again.stdout[:9]) == (1, "0 letters")
        assert audited_actions(operator.store, "letters") == [
            ("letters list", ""),
            ("letters show", f"ids={letter_id}"),
            ("letters replay", f"ids={letter_id}"),
            ("letters list", ""),
            ("letters replay", "reason=channel"),
        ]
        device.send(pack("turbidity", "NTU", {operator.start_s + 60: 17.5}))
        wait_until(lambda: len(operator.stored("turbidity")) == 2, within_s=WITHIN_S, what="ingest went on")
        assert operator.towntwin("letters", "list").returncode == 1, "there are none"


def test_a_dead_letter_whose_reading_clashes_is_kept_with_its_count(operator: Operator) -> None:
    """Its channel is enrolled, but somebody stored another value for its time: nothing may be lost."""
    with listening(operator.ingest()), MqttTestDevice(operator.broker, DATA) as device:
        device.send(pack("turbidity", "NTU", {operator.start_s: 17.5}))
        device.send(pack("turbidity", "NTU", {operator.start_s + 1: 18.5}))
        operator.wait_for_dead_letters(2)
        first, second = operator.dead_letter_ids()
        operator.enrol("turbidity")
        device.send(pack("turbidity", "NTU", {operator.start_s: 99.0}))
        wait_until(
            lambda: len(operator.stored("turbidity")) == 1, within_s=WITHIN_S, what="another is stored"
        )
        assert operator.towntwin("letters", "replay", "--all").returncode == 0
        operator.wait_for_dead_letters(1)
        wait_until(
            lambda: operator.dead_letter_ids(reason="conflict") == [first],
            within_s=WITHIN_S,
            what="one clashes",
        )
        assert second not in operator.dead_letter_ids()
    (dead_letter,) = operator.store.dead_letters(DeadLetterQuery())
    assert (dead_letter.replays, dead_letter.state) == (1, "waiting")
    assert operator.stored("turbidity") == [operator.start_s, operator.start_s + 1]


def test_a_kill_in_the_middle_of_a_replay_stores_everything_once(operator: Operator) -> None:
    """Half of the letters are stored, the commit of the other half is under way: SIGKILL."""
    half = 100
    quantities = {"turbidity": "NTU", "dissolved_oxygen": "mg/L"}
    times = [operator.start_s + number for number in range(half)]
    ingest = operator.ingest(TOWNTWIN_INGEST_BATCH_MESSAGES=str(half))
    with listening(ingest), MqttTestDevice(operator.broker, DATA) as device:
        for name, unit in quantities.items():
            for at_s in times:
                device.send(pack(name, unit, {at_s: 7.5}))
        operator.wait_for_dead_letters(2 * half)
        operator.enrol(*quantities)
        device.send(pack("dissolved_oxygen", "mg/L", {operator.start_s - 1: 7.5}))
        wait_until(
            lambda: len(operator.stored("dissolved_oxygen")) == 1, within_s=WITHIN_S, what="it is enrolled"
        )
        with (
            psycopg.connect(operator.dsn) as holding,
            psycopg.connect(operator.dsn, autocommit=True) as watching,
        ):
            holding.execute(
                "UPDATE latest SET value = value WHERE series_id ="
                " (SELECT series_id FROM series WHERE quantity = 'dissolved_oxygen')"
            )
            assert operator.towntwin("letters", "replay", "--all").returncode == 0
            wait_until(
                lambda: len(operator.dead_letter_ids()) == half and waits_for_a_lock(watching),
                within_s=WITHIN_S,
                what="the second half is under way",
            )
            ingest.kill()
            assert operator.stored("turbidity") == times
            assert len(operator.stored("dissolved_oxygen")) == 1
            holding.rollback()
    with listening(ingest):
        operator.wait_for_dead_letters(0)
        assert operator.stored("turbidity") == times
        assert operator.stored("dissolved_oxygen") == [operator.start_s - 1, *times]
        assert ingest.stop() == 0


def waits_for_a_lock(connection: psycopg.Connection[Any]) -> bool:
    found = connection.execute(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ).fetchone()
    return found is not None and found[0] > 0


def test_dead_letters_are_purged_by_filter_and_never_by_default(operator: Operator) -> None:
    with listening(operator.ingest()), MqttTestDevice(operator.broker, DATA) as device:
        device.send(b"hello")
        device.send(pack("turbidity", "NTU", {operator.start_s: 17.5}))
        device.send(pack("turbidity", "NTU", {operator.start_s + 1: 17.5}))
        device.send(pack("ph", "pH", {operator.start_s: 7.5}), topic=DATA.replace("r1", "stranger"))
        operator.wait_for_dead_letters(4)
        first, second = operator.dead_letter_ids(reason="channel")
    (hello,), (strange,) = (
        operator.dead_letter_ids(reason="payload"),
        operator.dead_letter_ids(device="stranger"),
    )
    everything = operator.dead_letter_ids()

    for action in ("purge", "replay"):
        refused = operator.towntwin("letters", action)
        assert refused.returncode == 2
        assert f"letters {action}: name ids" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert operator.dead_letter_ids() == everything

    def purge(*filters: str) -> tuple[int, str, set[int]]:
        done = operator.towntwin("letters", "purge", *filters)
        return done.returncode, done.stdout.strip(), set(operator.dead_letter_ids())

    assert purge("--older-than-days", "1") == (1, "0 letters deleted", {hello, first, second, strange})
    assert purge("--device", "stranger") == (0, "1 letters deleted", {hello, first, second})
    assert purge(str(first), "--reason", "payload") == (1, "0 letters deleted", {hello, first, second})
    assert purge("--reason", "payload") == (0, "1 letters deleted", {first, second})
    assert purge(str(second)) == (0, "1 letters deleted", {first})
    assert purge("--all") == (0, "1 letters deleted", set())
    done = ("device=stranger", "reason=payload", f"ids={second}", "all")
    assert audited_actions(operator.store, "letters purge") == [("letters purge", target) for target in done]


def test_what_devices_write_is_shown_and_never_obeyed(operator: Operator) -> None:
    """Markup of our own table, and what a terminal takes for a command."""
    with listening(operator.ingest()), MqttTestDevice(operator.broker, DATA) as device:
        device.send(pack("ph", "[/x]", {operator.start_s: 7.5}) + b"\r\n")
        device.send(b"\x1b]0;a title\x07")
        operator.wait_for_dead_letters(2)
    for action in ("list", "show"):
        done = operator.towntwin("letters", action)
        assert (done.returncode, done.stderr) == (0, "")
        assert "[/x]" in done.stdout
        assert not set("\x1b\x07") & set(done.stdout)
