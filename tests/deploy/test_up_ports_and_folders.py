"""Tests the ports, addresses, state file and folder of `up`, and the advice of `towntwin doctor`."""

from __future__ import annotations

import socket
import stat
from typing import TYPE_CHECKING

import msgspec
import psycopg
import pytest

from deploy import running_platform
from deploy.__main__ import main
from deploy.embedded.server_environment import free_port
from deploy.settings import CommonSettings, SettingsError
from deploy.up import folder_lock, ports, state_file
from deploy.up.settings import Settings
from edge.agent.clock_sync import kernel_clock_is_synchronised
from ingest_service.storage.postgres.migrate import migrate

if TYPE_CHECKING:
    from pathlib import Path

FOUND = state_file.UpState(
    pid=4711, dsn="postgresql://postgres:secret@127.0.0.1:5433/t", broker="mqtt://127.0.0.1:1883", gateway="g"
)


def test_a_usual_port_in_use_gives_way_to_the_next_and_that_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    printed_lines: list[str] = []
    with socket.socket() as busy_socket:
        busy_socket.bind(("127.0.0.1", free_port()))
        busy_socket.listen()
        port = int(busy_socket.getsockname()[1])
        monkeypatch.setattr(ports, "BROKER_PORT", port)
        monkeypatch.setattr(ports, "BROKER_MQTT311_PORT", port + 1)
        chosen = ports.choose_ports(Settings(), printed_lines.append, broker=True, database=False)
        assert chosen.broker > port
        assert chosen.broker_old > chosen.broker, "it is taken by the first"
        assert chosen.database == 0
        assert (
            f"port {port} is taken, so the broker for MQTT 5 listens on port {chosen.broker}"
            in printed_lines[0]
        )
        with pytest.raises(SettingsError, match=f"--broker-port={port} is taken"):
            ports.choose_ports(Settings(broker_port=port), printed_lines.append, broker=True, database=False)


@pytest.mark.parametrize("listen", ["town", "192.0.2.1", "1883"])
def test_an_address_that_is_not_of_this_machine_is_a_sentence(
    listen: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["up", "--listen", listen]) == 2
    assert f"towntwin: --listen={listen} " in capsys.readouterr().err


def test_commands_find_a_running_up_and_none_that_was_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = CommonSettings(folder=tmp_path)
    with folder_lock.hold_folder(tmp_path), state_file.publish_state(tmp_path, FOUND) as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        found = running_platform.with_running_platform(common, "letters")
        assert (found.dsn, found.broker) == (FOUND.dsn, FOUND.broker)
        shown = capsys.readouterr().err
        assert "process 4711" in shown
        assert "secret" not in shown
        assert running_platform.with_running_platform(common, "ingest") == common, (
            "a second one would compete"
        )
        named = msgspec.structs.replace(common, dsn="postgresql://elsewhere/t")
        assert running_platform.with_running_platform(named, "letters") == named
        kept = path.read_bytes()
    assert not path.exists()
    path.write_bytes(kept)  # a killed `up` leaves it behind
    assert running_platform.with_running_platform(common, "letters") == common
    path.write_bytes(b"{")
    assert state_file.find_running_up(tmp_path) is None


@pytest.mark.parametrize(
    "where", ["file", ".", "file/x", "/sys/towntwin"]
)  # the last is read-only, also for root
def test_a_folder_that_can_not_be_used_is_a_sentence_and_no_traceback(
    where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / where
    (tmp_path / "file").touch()
    (tmp_path / "run").touch()
    assert main(["up", "--folder", str(folder), "--ports", "free"]) == 2
    assert f"--folder={folder} can't be used" in capsys.readouterr().err


def test_doctor_reports_that_a_database_does_not_answer_and_not_to_migrate_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("deploy.commands.doctor.CONNECT_S", 0.5)
    assert main(["doctor", "--dsn", f"postgresql://me:secret@127.0.0.1:{free_port()}/t"]) == 1
    printed = capsys.readouterr().out
    assert "FAIL database: the database does not answer: " in printed
    assert ("not synchronised by a time service" in printed) != kernel_clock_is_synchronised()
    assert "db migrate" not in printed
    assert "secret" not in printed


def test_doctor_shows_a_database_that_can_be_read_and_not_written(
    empty_timescale_dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--dsn", empty_timescale_dsn]) == 1
    assert "run `towntwin db migrate`" in capsys.readouterr().out
    migrate(empty_timescale_dsn)
    with psycopg.connect(empty_timescale_dsn, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET default_transaction_read_only = on")
    assert main(["doctor", "--dsn", empty_timescale_dsn]) == 1
    printed = capsys.readouterr().out
    assert "FAIL database: it can be read, but nothing can be written: " in printed
