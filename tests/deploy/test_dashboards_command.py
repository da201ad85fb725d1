"""Tests that `towntwin dashboards provision` writes files with which a Grafana reads the running platform."""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from dashboards.generate import dashboard_files
from deploy.__main__ import main
from deploy.settings import CommonSettings
from deploy.up import folder_lock, state_file
from deploy.up.servers import Servers
from deploy.up.settings import Settings
from ingest_service.storage.postgres.migrate import migrate
from tests.support.grafana_login import connect, run_all_queries
from tests.support.grafana_provisioning import read_file
from tests.support.server_installation import enterable_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


# Relations that the user of the session may read though they are no views, or may change.
RIGHTS_BEYOND_VIEWS = """
SELECT relname FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f') AND (
    relkind NOT IN ('v', 'm') AND has_any_column_privilege(oid, 'SELECT')
    OR has_table_privilege(oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
)
"""


@dataclass(frozen=True)
class RunningStack:
    """The embedded database of an `up`, as `up` starts it, in a folder."""

    folder: Path
    state: state_file.UpState


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TOWNTWIN_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with ExitStack() as cleanup:
        open_folder = cleanup.enter_context(enterable_folder(tmp_path_factory.mktemp("stack")))
        common = CommonSettings(folder=open_folder, broker="mqtt://127.0.0.1:1")
        cleanup.enter_context(folder_lock.hold_folder(open_folder))
        servers = cleanup.enter_context(
            Servers(
                common,
                Settings(ports="free"),
                open_folder,
                database="town",
                fresh=True,
                print_line=lambda _line: None,
            )
        )
        migrate(servers.dsn)
        state = state_file.UpState(
            pid=1,
            dsn=servers.dsn,
            broker=servers.broker,
            gateway="http://127.0.0.1:1",
            grafana_dsn=servers.grafana_dsn(),
        )
        cleanup.enter_context(state_file.publish_state(open_folder, state))
        yield RunningStack(open_folder, state)


def provisioned_source(folder: Path) -> dict[str, Any]:
    """The data source of the files as Grafana reads it."""
    (source,) = read_file((folder / "datasources/towntwin.yaml").read_text())["datasources"]
    return dict(source)


def test_a_grafana_reads_every_query_with_exactly_what_was_written_and_writes_nothing(
    stack: RunningStack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "grafana"
    assert main(["dashboards", "provision", str(folder), "--folder", str(stack.folder)]) == 0
    printed = capsys.readouterr()
    source = provisioned_source(folder)
    password = source["secureJsonData"]["password"]
    assert password not in printed.out + printed.err
    assert source["jsonData"]["sslmode"] == "disable", "the embedded database has no certificate"
    secret_file = folder / "datasources/towntwin.yaml"
    assert stat.S_IMODE(secret_file.stat().st_mode) == 0o600
    with connect(source) as connection:
        assert run_all_queries(connection) > 200
        (group,) = read_file((folder / "alerting/rules.yaml").read_text())["groups"]
        sent = [
            query["model"]["rawSql"]
            for rule in group["rules"]
            for query in rule["data"]
            if "rawSql" in query["model"]
        ]
        for sql in sent:
            connection.execute(sql.encode())
        assert len(sent) > len(group["rules"])
        assert connection.execute(RIGHTS_BEYOND_VIEWS).fetchall() == []
        assert connection.execute("SHOW is_superuser").fetchall() == [("off",)]
    for statement in (
        "SELECT FROM reading",
        "SELECT FROM api_key",
        "DELETE FROM device",
        "CREATE TABLE x ()",
    ):
        with connect(source) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())


def test_the_files_are_complete_and_written_again_over_older_ones(
    stack: RunningStack, tmp_path: Path
) -> None:
    (tmp_path / "datasources").mkdir()
    (tmp_path / "datasources/towntwin.yaml").write_text("older")
    command = [
        "dashboards",
        "provision",
        str(tmp_path),
        "--folder",
        str(stack.folder),
        "--grafana-version",
        "12.3",
    ]
    assert main([*command, "--webhook-url", "http://127.0.0.1:1/hook"]) == 0
    (provider,) = read_file((tmp_path / "dashboards/towntwin.yaml").read_text())["providers"]
    assert {path.name for path in (tmp_path / "dashboards/towntwin").iterdir()} == set(dashboard_files())
    assert provider["options"]["path"] == str(tmp_path / "dashboards/towntwin")
    assert provisioned_source(tmp_path)["type"] == "grafana-postgresql-datasource"
    assert stat.S_IMODE((tmp_path / "datasources/towntwin.yaml").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "alerting/contact_points.yaml").stat().st_mode) == 0o600
    assert "KeepLast" in (tmp_path / "alerting/rules.yaml").read_text()


def test_a_configured_database_gives_its_address_and_mode_but_not_its_login(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dsn = "postgresql://owner:kept-back@db.example:6432/town?sslmode=verify-full"
    assert (
        main(["dashboards", "provision", str(tmp_path), "--dsn", dsn, "--folder", str(tmp_path / "up")]) == 0
    )
    (source,) = read_file(
        (tmp_path / "datasources/towntwin.yaml").read_text(), {"TOWNTWIN_GRAFANA_DB_PASSWORD": "p"}
    )["datasources"]
    assert (source["url"], source["jsonData"]["database"]) == ("db.example:6432", "town")
    assert (source["user"], source["jsonData"]["sslmode"]) == ("grafana", "verify-full")
    assert source["secureJsonData"] == {"password": "p"}, "from the environment of Grafana"
    assert "no password" in capsys.readouterr().out
    assert not any(b"kept-back" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["provision"], 2, "provision needs a folder"),
        (["push", "x"], 2, "push takes no folder"),
        (["provision", "/proc/towntwin"], 1, "name another folder"),
        (["provision", "x", "--grafana-version", "8.5"], 2, "the files are for Grafana 9.4 to 12"),
        (["provision", "x", "--grafana-version", "new"], 2, "the files are for Grafana 9.4 to 12"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    arguments: list[str], code: int, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dashboards", *arguments, "--folder", str(tmp_path)]) == code
    assert sentence in capsys.readouterr().err
