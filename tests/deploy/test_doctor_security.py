"""Tests `towntwin doctor --security` at real servers: each weakness is found, none where there is none."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import make_conninfo

from deploy.__main__ import main
from deploy.device_access.certificate_authority import CertificateAuthority
from deploy.device_access.server_certificates import CertificateFolder
from deploy.embedded.postgres import SETTINGS, EmbeddedPostgres
from deploy.embedded.server_environment import free_port
from deploy.security_checks import database_checks, file_checks, network_checks
from deploy.security_checks.finding import TEXTS, SecurityReport
from deploy.up.servers import GATEWAY_GROUP, GATEWAY_LOGIN, GRAFANA_GROUP, GRAFANA_LOGIN
from edge.wire.broker_address import BrokerAddress, TlsFiles
from gateway.auth import api_keys
from gateway.auth.principal import Role
from gateway.settings import Settings as GatewaySettings
from ingest_service.storage.health.processes import HealthLimits, HeartbeatReport, ProcessIdentity
from ingest_service.storage.postgres.api_keys import ApiKeyStore
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from ingest_service.storage.settings import Settings as StoreSettings
from tests.support.dynamic_mosquitto import start_dynamic_mosquitto
from tests.support.processes import REPOSITORY, wait_until
from tests.support.tls_mosquitto import start_tls_mosquitto

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from deploy.debian_servers.installation import Installation
    from tests.conftest import StartMosquitto

WITHIN_S = 30.0


def kinds_and_subjects(printed: str) -> set[tuple[str, str]]:
    return {(one["kind"], one["subject"]) for one in json.loads(printed)["findings"]}


def make_key(store: PostgresStore, name: str, **more: Any) -> str:
    keys = ApiKeyStore(store)
    return api_keys.create_key(keys, name=name, role=Role.VIEWER, created_by="tests", **more)[0].key_id


def test_a_weak_installation_is_listed_with_reasons_and_remedies(
    start_mosquitto: StartMosquitto,
    plain_dsn: str,
    open_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    migrate(plain_dsn)
    store = PostgresStore.open(plain_dsn)
    forever = make_key(store, "forever")
    old = make_key(store, "old", expires_s=time.time() + 1e6)
    make_key(store, "good", expires_s=time.time() + 1e6)
    make_key(store, "of this machine", loopback=True)
    with psycopg.connect(plain_dsn, autocommit=True) as connection:
        connection.execute(
            "UPDATE api_key SET created = created - interval '3 years' WHERE key_id = %s", (old,)
        )
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET password_encryption = 'md5'")
        user = f"careless_{os.getpid()}"
        connection.execute(f"CREATE ROLE {user} LOGIN")
        connection.execute(f"GRANT INSERT ON area TO {user}")
    command = [sys.executable, "-c", "import time; time.sleep(60)", "postgresql://u:unprinted@127.0.0.1/t"]
    with subprocess.Popen(command) as process:
        identity = ProcessIdentity(kind="ingest", instance="main", pid=process.pid)
        with closing(store.heartbeat(identity, HealthLimits())) as heartbeat:
            heartbeat.beat(HeartbeatReport())
            folder = CertificateFolder(open_folder / "tls", CertificateAuthority.create("town", days=100))
            folder.issue("gateway", ["localhost"], days=20)
            (open_folder / "tls/gateway.key").chmod(0o644)
            password = open_folder / "password"
            password.write_text("guest\n")
            password.chmod(0o644)
            variables = open_folder / "gateway.env"
            variables.write_text(
                f"# of the gateway\nTOWNTWIN_GATEWAY_HOST='192.0.2.1'\nTOWNTWIN_GATEWAY_PORT={free_port()}\n"
                f"TOWNTWIN_GATEWAY_BROKER_ACCESS=none\nTOWNTWIN_GRAFANA_DB_USER={user}\nPATH=/bin\n"
            )
            variables.chmod(0o600)
            monkeypatch.setenv("TOWNTWIN_BROKER", start_mosquitto().url.replace("//", "//ingest@"))
            monkeypatch.setenv("TOWNTWIN_BROKER_PASSWORD_FILE", str(password))
            flags = ["doctor", "--security", "--dsn", plain_dsn, "--environment-file", str(variables)]
            flags += ["--certificates", str(open_folder / "tls")]
            assert main([*flags, "--json"]) == 1
            printed = capsys.readouterr().out
            assert main([*flags, "--language", "zh"]) == 1
            chinese = capsys.readouterr().out
            main(flags)
            english = capsys.readouterr().out
        process.terminate()
    store.close()
    with psycopg.connect(plain_dsn, autocommit=True) as connection:
        connection.execute(f"DROP OWNED BY {user}")
        connection.execute(f"DROP ROLE {user}")
    found = kinds_and_subjects(printed)
    tls = open_folder / "tls"
    assert {(kind, subject) for kind, subject in found if kind in {"file_readable", "certificate_ends"}} == {
        ("file_readable", f"{tls / 'gateway.key'} (0644)"),
        ("file_readable", f"{password} (0644)"),
        ("certificate_ends", str(tls / "gateway.crt")),
    }
    assert found >= {
        ("authority_ends", str(tls / "ca.crt")),
        ("broker_password", "ingest"),
        ("broker_unmanaged", "TOWNTWIN_GATEWAY_BROKER_ACCESS=none"),
        ("database_superuser", "postgres"),
        ("key_without_end", f"{forever} (forever, viewer)"),
        ("key_old", f"{old} (old, viewer)"),
        ("grafana_rights", f"{user}: INSERT area"),
        ("password_in_command", str(process.pid)),
    }
    kinds = {kind for kind, _ in found}
    assert kinds >= {
        "broker_anonymous",
        "database_any_password",
        "database_md5",
        "no_backup",
        "gateway_plain",
    }
    assert len([one for kind, one in found if kind.startswith("key_")]) == 2
    assert "database_row_level_security" not in kinds
    assert "WEAK the broker mqtt://127.0.0.1" in english
    assert "what to do: set allow_anonymous false" in english
    assert "请关闭匿名访问" in chinese
    assert "unprinted" not in printed + english + chinese
    assert "guest" not in printed


def test_a_strong_installation_has_no_weakness(
    start_mosquitto: StartMosquitto,
    real_servers: Installation | None,
    open_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    broker = start_dynamic_mosquitto(start_mosquitto, real_servers, open_folder, days=400)
    archiving = {"archive_mode": "on", "archive_command": "true"}
    monkeypatch.setattr("deploy.embedded.postgres.SETTINGS", SETTINGS | archiving)
    server = EmbeddedPostgres(open_folder / "postgres").start()
    try:
        owner = server.database("town")
        migrate(owner)
        gateway = server.login(GATEWAY_LOGIN, GATEWAY_GROUP, "town")
        server.login(GRAFANA_LOGIN, GRAFANA_GROUP, "town")
        with psycopg.connect(owner, autocommit=True) as connection:
            # The owner of an installed box, who made the roles and may grant them.
            connection.execute("CREATE ROLE maker LOGIN")
            connection.execute(f"GRANT {GRAFANA_GROUP} TO maker WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")
            connection.execute("GRANT INSERT ON area TO maker")
            connection.execute("SELECT pg_switch_wal()")
            archived = "SELECT last_archived_time IS NOT NULL FROM pg_stat_archiver"
            wait_until(
                lambda: connection.execute(archived).fetchone() == (True,), within_s=WITHIN_S, what="archived"
            )
        store = PostgresStore.open(owner)
        make_key(store, "good", expires_s=time.time() + 1e6)
        store.close()
        folder = CertificateFolder(open_folder / "tls", broker.authority)
        folder.issue("gateway", ["localhost"])
        monkeypatch.setenv("TOWNTWIN_DSN", gateway)
        monkeypatch.setenv("TOWNTWIN_BROKER", broker.url.replace("//", "//ingest:long-and-random-password@"))
        monkeypatch.setenv("TOWNTWIN_BROKER_CA", str(broker.ca))
        monkeypatch.setenv("TOWNTWIN_GATEWAY_HOST", "192.0.2.1")
        monkeypatch.setenv("TOWNTWIN_GATEWAY_PORT", str(free_port()))
        monkeypatch.setenv("TOWNTWIN_GATEWAY_TLS_CERT", str(open_folder / "tls/gateway.crt"))
        monkeypatch.setenv("TOWNTWIN_GATEWAY_TLS_KEY", str(open_folder / "tls/gateway.key"))
        code = main(["doctor", "--security", "--certificates", str(open_folder / "tls"), "--json"])
    finally:
        server.stop()
    printed = json.loads(capsys.readouterr().out)
    of_this_machine = [one for one in printed["findings"] if one["subject"].endswith(":1883")]
    weak = [one for one in printed["findings"] if one not in of_this_machine]
    assert weak == []
    assert printed["unchecked"] == []
    assert code == (1 if of_this_machine else 0)


def test_a_broker_with_tls_is_checked_for_anonymous_clients_and_its_end(
    start_mosquitto: StartMosquitto, real_servers: Installation | None, tmp_path: Path
) -> None:
    open_broker = start_tls_mosquitto(start_mosquitto, real_servers, tmp_path, days=400)
    found = SecurityReport()
    address = BrokerAddress(
        "127.0.0.1", open_broker.port, "ingest", "ingest-password", TlsFiles(open_broker.ca)
    )
    network_checks.check_broker(found, address)
    assert [one.kind for one in found.findings] == ["broker_anonymous"]
    ended = start_tls_mosquitto(
        start_mosquitto, real_servers, tmp_path, days=1, begin=datetime.now(UTC) - timedelta(days=3)
    )
    found = SecurityReport()
    network_checks.check_broker(found, BrokerAddress("127.0.0.1", ended.port, tls=TlsFiles(ended.ca)))
    assert [one.kind for one in found.findings] == ["certificate_ends"]
    found = SecurityReport()
    network_checks.check_broker(found, BrokerAddress("127.0.0.1", free_port()))
    assert found.findings == []
    assert [one.part for one in found.unchecked] == ["broker"], "what is away is not called sound"
    found = SecurityReport()
    network_checks.check_gateway(found, GatewaySettings(public_url="http://twin.example", port=free_port()))
    assert [one.subject for one in found.findings] == ["http://twin.example"]


def test_ports_that_this_machine_listens_on_are_found_with_their_addresses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.2", 0)) as other:
        assert list(network_checks.listening_hosts(one.getsockname()[1])) == ["127.0.0.1"]
        assert list(network_checks.listening_hosts(other.getsockname()[1])) == ["127.0.0.2"]
        port = one.getsockname()[1]
    assert list(network_checks.listening_hosts(port)) == []
    assert network_checks.is_loopback("localhost")
    assert not network_checks.is_loopback("0.0.0.0")  # noqa: S104 - it is what is looked for
    assert not network_checks.is_loopback("192.0.2.1")


def test_plain_mqtt_beyond_loopback_is_a_weakness_also_while_the_broker_is_away() -> None:
    report = SecurityReport()
    network_checks.check_broker(report, BrokerAddress("192.0.2.1", 1883))  # an address for documentation
    assert [one.kind for one in report.findings] == ["broker_plain"]
    report = SecurityReport()
    network_checks.check_broker(report, BrokerAddress("127.0.0.1", free_port()))
    assert report.findings == []


def test_a_database_without_encryption_or_row_level_security_is_a_weakness(plain_dsn: str) -> None:
    migrate(plain_dsn)
    report = SecurityReport()
    database_checks.check_database(report, plain_dsn, StoreSettings())
    before = {one.kind for one in report.findings}
    with psycopg.connect(plain_dsn) as connection:
        connection.execute("DROP SCHEMA walled CASCADE")
    # The same server by an address that is not one of loopback by its text: an IPv4 address as one of IPv6.
    mapped = make_conninfo(plain_dsn, hostaddr="::ffff:127.0.0.1")
    report = SecurityReport()
    database_checks.check_database(report, mapped, StoreSettings())
    assert {one.kind for one in report.findings} - before == {"database_plain", "database_row_level_security"}
    assert report.unchecked == []


def test_a_file_in_a_closed_folder_is_not_called_readable(open_folder: Path) -> None:
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    for folder in (open_folder, closed):
        (folder / "secret").write_text("x")
        (folder / "secret").chmod(0o644)
    (open_folder / "shared").write_text("x")
    (open_folder / "shared").chmod(0o640)  # root's file, which a process of the group reads
    report = SecurityReport()
    paths = [open_folder / "secret", closed / "secret", open_folder / "shared", open_folder / "none"]
    file_checks.check_secret_files(report, paths)
    assert [one.subject for one in report.findings] == [f"{open_folder / 'secret'} (0644)"]


def test_a_database_that_is_away_is_not_called_sound(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOWNTWIN_GATEWAY_PORT", str(free_port()))
    (tmp_path / "broken.env").write_text("TOWNTWIN_DSN='unclosed\n")
    away = f"postgresql://me:secret@127.0.0.1:{free_port()}/t"
    assert main(["doctor", "--security", "--dsn", away]) == 3
    printed = capsys.readouterr().out
    assert "NOT CHECKED database" in printed
    assert "secret" not in printed
    assert main(["doctor", "--security", "--environment-file", str(tmp_path / "broken.env")]) == 2
    assert main(["doctor", "--json"]) == 2


def test_every_text_has_its_weakness_in_the_checks() -> None:
    checks = (REPOSITORY / "deploy/security_checks").glob("*_checks.py")
    sources = [path.read_text("utf-8") for path in checks]
    assert [kind for kind in TEXTS if not any(f'"{kind}"' in one for one in sources)] == []
