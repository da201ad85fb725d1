"""Tests the containers' files without a container engine: by schema, by linter, and by their readers.

The same topology runs as plain processes: the files that `prepare` makes, a PostgreSQL and a Mosquitto with
the mounted configurations, and the platform's processes with the environments of `deploy/compose.yaml`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import psycopg
import pytest
import yaml

from deploy.__main__ import COMMANDS, command_parser
from deploy.box import container_files
from deploy.commands.settings import TABLES
from deploy.debian_servers.installation import PROGRAMS, Installation
from deploy.embedded.server_environment import free_port
from deploy.settings import FILE_SUFFIX, CommonSettings, SettingsError, load_settings, setting_rows
from gateway.auth import api_keys
from gateway.auth.principal import Role
from ingest_service.storage.postgres.api_keys import ApiKeyStore
from ingest_service.storage.postgres.store import PostgresStore
from tests.support import not_tested
from tests.support.processes import REPOSITORY, PlatformProcess, running_processes, wait_until
from tests.support.run_folders import kill_tree, new_folder
from tests.support.server_installation import runs_folder
from tests.support.store_samples import DIRECTORY
from tests.support.throwaway_servers import TIMESCALE, PostgresServer

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from ingest_service.storage.health.processes import ProcessInfo

COMPOSE = REPOSITORY / "deploy/compose.yaml"
DOCKERFILE = REPOSITORY / "deploy/Dockerfile"
ENV_EXAMPLE = REPOSITORY / "deploy/.env.example"
MOUNTED = "/etc/towntwin"
ONE_SHOT = {"prepare", "migrate", "admin"}
WITHIN_S = 60.0
PROCESSORS = 2  # of the smallest machine
MAX_PROCESSES = 256


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    content: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())
    return content["services"]


def program(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def test_the_file_is_as_the_schema_of_compose_has_it() -> None:
    command = [program("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_linter_of_dockerfiles_has_nothing_to_report(services: dict[str, Any]) -> None:
    done = subprocess.run([program("hadolint"), str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    text = DOCKERFILE.read_text()
    targets = {one["build"]["target"] for one in services.values() if "build" in one}
    assert targets <= set(re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE))
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for source in sources.split():
            assert (REPOSITORY / source).exists(), source
    assert f"--uid {container_files.TOWNTWIN_UID} " in text


def test_every_container_is_confined(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"], name
        assert 0 < float(service["cpus"]) < PROCESSORS, f"{name}: no processor is left for the others"
        assert 0 < service["pids_limit"] <= MAX_PROCESSES, name
        assert re.fullmatch(r"[a-z0-9/-]+:\d+\.\d+\.\d+(-\w+)?", service["image"]), (
            f"{name}: no pinned version"
        )
        is_root = service["user"] == "0:0"
        assert is_root == (name == "prepare"), f"{name} runs as root"
        assert not is_root or service["network_mode"] == "none"
        checked = service.get("healthcheck", {"disable": True})
        assert name in ONE_SHOT or not checked.get("disable", False), f"{name}: nothing shows that it hangs"
        assert name in ONE_SHOT or {"test", "interval", "timeout", "retries"} <= checked.keys(), name
        for port in service.get("ports", []):
            assert port.startswith("${"), f"{name}: a port that can't be changed"


def test_every_variable_is_a_setting_and_every_command_can_be_parsed(services: dict[str, Any]) -> None:
    variables = {row.variable for process, table in TABLES.items() for row in setting_rows(table, process)}
    assert not variables & {f"{one}{FILE_SUFFIX}" for one in variables}, "two meanings of one variable"
    targets = dict(
        re.findall(
            r"^FROM base AS (\S+)\n(?:[A-Z]+ [^C\n].*\n)*CMD (.+)$", DOCKERFILE.read_text(), re.MULTILINE
        )
    )
    for name, service in services.items():
        if service["image"].startswith("towntwin-") and name != "prepare":
            given = {
                one.removesuffix(FILE_SUFFIX) if one not in variables else one
                for one in service["environment"]
            }
            assert given <= variables, name
            command = service.get("command") or json.loads(targets[service["build"]["target"]])
            assert command[0] in COMMANDS
            parser: argparse.ArgumentParser = command_parser(command[0])
            parser.parse_args(command)


def test_every_variable_of_the_file_is_in_the_example_and_every_mounted_file_exists(
    services: dict[str, Any],
) -> None:
    text = COMPOSE.read_text()
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", text))
    assert used == set(re.findall(r"^(\w+)=", ENV_EXAMPLE.read_text(), re.MULTILINE))
    for path in re.findall(r"\./compose/[\w.]+", text):
        assert (COMPOSE.parent / path).is_file(), path
    volumes = {one.partition(":")[0] for service in services.values() for one in service.get("volumes", [])}
    declared = yaml.safe_load(text)["volumes"].keys()
    assert {one for one in volumes if not one.startswith((".", "$"))} == declared
    folders = {f"{one}-files" if one != "broker-data" else one for one in container_files.FOLDERS}
    assert folders <= declared


def test_a_value_may_come_from_a_file(tmp_path: Path) -> None:
    args, path = command_parser("doctor").parse_args(["doctor"]), tmp_path / "dsn"
    path.write_text("postgresql://a:b@c/d\n")
    by_file = {"TOWNTWIN_DSN_FILE": str(path)}
    assert load_settings(CommonSettings, None, args, by_file).dsn == "postgresql://a:b@c/d"
    with pytest.raises(SettingsError, match="both set"):
        load_settings(CommonSettings, None, args, by_file | {"TOWNTWIN_DSN": "x"})
    with pytest.raises(SettingsError, match=r"TOWNTWIN_DSN_FILE=.*No such file"):
        load_settings(CommonSettings, None, args, {"TOWNTWIN_DSN_FILE": str(tmp_path / "none")})
    path.write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="can't be read"):
        load_settings(CommonSettings, None, args, by_file)
    path.write_text("tt_secret")
    with pytest.raises(SettingsError) as refused:
        load_settings(CommonSettings, None, args, {"TOWNTWIN_LOG_FORMAT_FILE": str(path)})
    assert "secret" not in str(refused.value), "a file may hold a secret"


class Topology:
    """The containers as plain processes: PostgreSQL and Mosquitto of Debian, and the platform's own."""

    def __init__(self, installation: Installation, services: dict[str, Any], folder: Path) -> None:
        self.installation, self.services, self.folder = installation, services, folder
        self.volumes = folder / "volumes"
        self.broker_port, self.certificate_port = free_port(), free_port()
        self.gateway_port = free_port()
        own = os.geteuid()
        self.uids = dict.fromkeys(container_files.FOLDERS, own)
        self.uids["database"] = installation.owner("postgres")[0]
        self.uids["broker"] = self.uids["broker-data"] = installation.owner("mosquitto")[0]
        database = installation.inside(self.volumes / "database")
        self.server = PostgresServer(
            installation,
            "postgres",
            PROGRAMS,
            TIMESCALE
            | {
                "ssl": "on",
                "ssl_cert_file": f"{database}/database.crt",
                "ssl_key_file": f"{database}/database.key",
                "password_encryption": "scram-sha-256",
            },
        )

    def prepare(self) -> list[Path]:
        made = container_files.prepare_containers(
            self.folder / "origin",
            self.volumes,
            ["127.0.0.1"],
            database=f"localhost:{self.server.port}",
            uids=self.uids,
        )
        for name in ("admin", *container_files.GROUP_BY_ACCOUNT.keys() - {"grafana"}):
            dsn = self.volumes / name / "dsn"
            dsn.write_text(dsn.read_text().replace(quote(MOUNTED, safe=""), str(self.volumes / name)))
        return made

    def start_database(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make the cluster as the image does, then go on with the mounted rules of authentication."""
        self.server.create()
        script = self.installation.inside(self.volumes / "database/initialise.sql")
        psql = ["psql", "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--username", "postgres"]
        network = ["--host", "127.0.0.1", "--port", str(self.server.port), "--file", script]
        done = self.server._run(*psql, *network)
        assert done.returncode == 0, done.stderr
        password = (self.volumes / "database/superuser.password").read_text().strip()
        rules = self.server.folder / "rules.conf"
        rules.write_text((COMPOSE.parent / "compose/pg_hba.conf").read_text())
        rules.chmod(0o644)
        with psycopg.connect(self.server.dsn(), autocommit=True) as connection:
            connection.execute(f"ALTER ROLE postgres PASSWORD '{password}'")
            connection.execute(f"ALTER SYSTEM SET hba_file = '{self.installation.inside(rules)}'")
        self.server.stop()
        monkeypatch.setenv("PGPASSWORD", password)
        self.server.start()

    def broker(self) -> subprocess.Popen[bytes]:
        """Start Mosquitto with the mounted configuration; only its paths and ports differ."""
        plugin = next((self.installation.root / "usr/lib").glob("*/mosquitto_dynamic_security.so"))
        text = (COMPOSE.parent / "compose/mosquitto.conf").read_text()
        for before, after in {
            "/usr/lib/mosquitto_dynamic_security.so": self.installation.inside(plugin),
            "/mosquitto/data": self.installation.inside(self.volumes / "broker-data"),
            MOUNTED: self.installation.inside(self.volumes / "broker"),
            "listener 8883": f"listener {self.broker_port} 127.0.0.1",
            "listener 8884": f"listener {self.certificate_port} 127.0.0.1",
        }.items():
            assert before in text
            text = text.replace(before, after)
        path = self.folder / "mosquitto.conf"
        path.write_text(text)
        command = self.installation.command(
            "mosquitto", "/usr/sbin/mosquitto", "-c", self.installation.inside(path)
        )
        with (self.folder / "broker.log").open("ab") as log:
            return subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def environment(self, name: str) -> dict[str, str]:
        """Return the environment of a container, with the paths and ports of this topology."""
        found = {}
        for variable, value in self.services[name]["environment"].items():
            default = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
            address = default.replace("@broker:8883", f"@127.0.0.1:{self.broker_port}")
            found[variable] = address.replace(MOUNTED, str(self.volumes / name))
        return found

    def dsn(self, name: str) -> str:
        """Return the address of the database that a container gets."""
        return (self.volumes / name / "dsn").read_text().strip()

    def process(self, name: str, *args: str, **changed: str) -> PlatformProcess:
        return PlatformProcess(*args, log=self.folder / f"{name}.log", **(self.environment(name) | changed))


@pytest.fixture
def topology(
    real_servers: Installation | None, services: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Topology]:
    if real_servers is None or not real_servers.has_timescale or os.geteuid() != 0:
        not_tested.skip("the containers' files: run on Debian as root")
    folder = new_folder(runs_folder(real_servers), "compose", (0, 0))
    folder.chmod(0o755)
    one = Topology(real_servers, services, folder)
    one.prepare()
    one.volumes.chmod(0o755)
    broker = None
    try:
        one.start_database(monkeypatch)
        broker = one.broker()
        yield one
    finally:
        if broker is not None:
            kill_tree(broker.pid)
            broker.wait()
        one.server.remove()


@pytest.mark.timeout(180)
def test_the_same_topology_as_processes_stores_what_a_device_publishes_over_tls(topology: Topology) -> None:
    assert topology.prepare() == [], "a second run changes nothing"
    own_file = str(topology.volumes / "admin/dsn")
    migrate = topology.process("migrate", "db", "migrate", TOWNTWIN_DSN_FILE=own_file)
    with running_processes(migrate):
        assert migrate.process.wait(60) == 0
    store = PostgresStore.open(topology.dsn("admin"))
    store.enrol(DIRECTORY)
    _, key = api_keys.create_key(
        ApiKeyStore(store), name="tests", role=Role.VIEWER, area_id="330483", created_by="tests"
    )
    store.close()
    gateway = topology.process(
        "gateway", "gateway", "--port", str(topology.gateway_port), TOWNTWIN_GATEWAY_HOST="127.0.0.1"
    )
    ports = {
        "TOWNTWIN_INGEST_METRICS_PORT": str(free_port()),
        "TOWNTWIN_SERVICE_METRICS_PORT": str(free_port()),
        "TOWNTWIN_ACCESS_METRICS_PORT": str(free_port()),
    }
    ingest = topology.process(
        "ingest", "ingest", TOWNTWIN_INGEST_METRICS_PORT=ports["TOWNTWIN_INGEST_METRICS_PORT"]
    )
    service = topology.process(
        "service", "service", TOWNTWIN_SERVICE_METRICS_PORT=ports["TOWNTWIN_SERVICE_METRICS_PORT"]
    )
    access = topology.process(
        "access", "access", TOWNTWIN_ACCESS_METRICS_PORT=ports["TOWNTWIN_ACCESS_METRICS_PORT"]
    )
    receiver = topology.process("federate-receive", "federate", "receive", TOWNTWIN_FEDERATE_METRICS_PORT="0")
    with running_processes(ingest, service, gateway, access, receiver):
        publish(topology)
        with psycopg.connect(topology.dsn("admin")) as connection:
            wait_until(
                lambda: connection.execute("SELECT count(*) FROM reading").fetchone() == (1,),
                within_s=WITHIN_S,
                what="the reading is stored",
            )
        for one in services_by_port(topology, ports):
            check_health(topology, *one)
        wait_until(
            lambda: all(one.works for one in watched_processes(topology)),
            within_s=WITHIN_S,
            what="every process does its work with the rights of its own database user",
        )
        assert [one.process.poll() for one in (ingest, service, gateway, access, receiver)] == [None] * 5
        answer = httpx.get(
            f"http://127.0.0.1:{topology.gateway_port}/v1/latest", headers={"X-API-Key": key}, timeout=20
        )
        assert '"value":7.4' in answer.text
    assert "subscribed" in receiver.log.read_text()
    for process in (ingest, service, gateway, access, receiver):
        denied = [line for line in process.log.read_text().splitlines() if "permission denied" in line]
        assert denied == [], process.args
    assert "row_level_security_missing" not in access.log.read_text(), "it is restricted by its role"
    logged = gateway.log.read_text()
    assert "row_level_security_missing" not in logged
    assert "scopes_are_not_signed" not in logged
    check_refusals(topology)


def watched_processes(topology: Topology) -> list[ProcessInfo]:
    store = PostgresStore.open(topology.dsn("admin"))
    try:
        found = store.processes()
    finally:
        store.close()
    assert {one.kind for one in found} == {"ingest", "service", "gateway", "access", "federation"}
    return found


def publish(topology: Topology) -> None:
    """Publish one reading as the HJ 212 server's user, with the environment of its container."""
    environ = {**os.environ, **topology.environment("hj212")}
    pack = json.dumps([{"n": "ph", "v": 7.4, "t": time.time()}])
    command = ["edge", "--area", "330483-d1", "--device", "d1", "--spool", str(topology.folder / "d1.spool")]
    done = subprocess.run(
        [sys.executable, "-m", "deploy", *command],
        cwd=REPOSITORY,
        env=environ,
        input=pack + "\n",
        text=True,
        capture_output=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def services_by_port(topology: Topology, ports: dict[str, str]) -> list[tuple[str, int, int]]:
    """Return name, port in the file, and port here of each health check by HTTP."""
    return [
        ("ingest", 9101, int(ports["TOWNTWIN_INGEST_METRICS_PORT"])),
        ("service", 9102, int(ports["TOWNTWIN_SERVICE_METRICS_PORT"])),
        ("access", 9104, int(ports["TOWNTWIN_ACCESS_METRICS_PORT"])),
        ("gateway", 8080, topology.gateway_port),
    ]


def check_health(topology: Topology, name: str, written: int, port: int) -> None:
    """Run a container's health check."""
    kind, interpreter, flag, code = topology.services[name]["healthcheck"]["test"]
    assert (kind, interpreter, flag) == ("CMD", "python", "-c")
    assert f":{written}/" in code
    command = [sys.executable, "-c", code.replace(f":{written}/", f":{port}/")]
    wait_until(
        lambda: subprocess.run(command, check=False, capture_output=True).returncode == 0,
        within_s=WITHIN_S,
        what=f"{name} is healthy",
    )


def check_refusals(topology: Topology) -> None:
    """Whoever has no password, no TLS or another's rights is refused."""
    admin = topology.dsn("admin")
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(re.sub(r"\?.*", "?sslmode=disable", admin))
    password = (topology.folder / "origin/secrets/database-grafana.password").read_text().strip()
    grafana = f"postgresql://towntwin-grafana:{password}@127.0.0.1:{topology.server.port}/towntwin"
    with psycopg.connect(grafana, sslmode="require", autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM series_view").fetchone() is not None
        for forbidden in ("SELECT * FROM api_key", "DELETE FROM reading", "SELECT * FROM reading"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden)
    modes = {path: path.stat().st_mode & 0o077 for path in topology.volumes.rglob("*")}
    assert set(modes.values()) == {0}, "nobody but its own process reads a file"
