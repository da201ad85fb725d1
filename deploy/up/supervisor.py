"""Runs `towntwin up`: starts servers and processes, restarts ended ones, stops all, and prints a summary."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import time
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import msgspec

from deploy import replay_summary
from deploy.agent_fleet import FleetProgress, read_progress
from deploy.embedded.server_environment import default_folder
from deploy.running_platform import grafana_login, without_password
from deploy.settings import BROKER_FILE_SETTINGS, SettingsError
from deploy.up import folder_lock, ports, run_summary, state_file
from deploy.up.child_processes import ChildProcess, ChildProcesses
from deploy.up.servers import Servers
from deploy.up.terminal_display import TerminalDisplay
from gateway.auth import api_keys
from gateway.auth.principal import Role
from ingest_service.storage.contract.errors import StoreError, StoreUnavailableError
from ingest_service.storage.contract.models import AnomalyQuery
from ingest_service.storage.contract.paging import all_anomalies
from ingest_service.storage.health.process_messages import process_message
from ingest_service.storage.postgres.api_keys import ApiKeyStore
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from ingest_service.storage.settings import Settings as StoreSettings

if TYPE_CHECKING:
    import threading
    from pathlib import Path

    from deploy.replay_summary import ReplaySummary
    from deploy.settings import CommonSettings
    from deploy.up.jobs import Job
    from deploy.up.settings import Settings
    from gateway.settings import Settings as GatewaySettings

REFRESH_INTERVAL_S = 0.5
READY_S = 60.0
DRAIN_S = 120.0
SETTLE_S = 3.0
SHOWN_ANOMALIES = 40
WATCH_SETTINGS = StoreSettings(connections=1, connect_timeout_s=2, statement_timeout_s=5, answer_timeout_s=6)
KEY_DAYS = 30
NO_ACCESS_CONTROL = "none: any client may publish as any device"  # rumqttd has no permissions by topic
UNUSABLE_FOLDER_ERRORS = {
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOTDIR,
    errno.EEXIST,
}


@dataclass(slots=True)
class PlatformRun:
    """The running platform of one `up`: its store, servers, processes and display."""

    job: Job
    store: PostgresStore
    watched_store: PostgresStore  # with short time limits: ended servers are restarted by the same thread
    servers: Servers
    children: ChildProcesses
    publisher: ChildProcess | None
    screen: TerminalDisplay
    report_path: Path
    stop: threading.Event
    keeps_running: bool

    def refresh(self) -> FleetProgress | None:
        """Restart ended servers and processes, update the display, and return the publisher's progress."""
        self.servers.restart_ended()
        self.children.restart_ended()
        report = read_progress(self.report_path)
        try:
            self.screen.show(
                self.watched_store.health(),
                report,
                self.watched_store.anomalies(AnomalyQuery(limit=SHOWN_ANOMALIES)),
                self.watched_store.directory(),
                [*self.children.lost, *_unwell_processes(self.watched_store)],
                now_s=time.time(),
            )
        except StoreUnavailableError as error:
            self.screen.print_line(f"the database is away: {error}")
        return report

    def watch(self, for_s: float | None) -> None:
        """Refresh until the time is over, the run is stopped, or a replay has ended.

        After a replay the platform stays up if ``keeps_running`` is set or a time is given.
        """
        ends_s = time.monotonic() + for_s if for_s else None
        stays_up = False
        while not self.stop.wait(REFRESH_INTERVAL_S):
            self.refresh()
            if self.children.lost and (for_s or self.job.has_end):
                return  # the run can't succeed any more
            if (
                not stays_up
                and self.job.has_end
                and self.publisher is not None
                and self._has_ended(self.publisher)
            ):
                stays_up = (self.keeps_running or ends_s is not None) and self._announce_replay_end()
                if not stays_up:
                    return
            if ends_s is not None and time.monotonic() >= ends_s:
                return

    def _announce_replay_end(self) -> bool:
        """Print that the replay has ended and the platform stays up; return False if the replay failed."""
        if run_summary.read_replay(self._replay_file) is None:
            return False
        self.report_replay()
        until = "Ctrl-C" if self.keeps_running else "the end of --for"
        self.screen.print_line(f"the recorded files are played; everything stays up until {until}")
        return True

    def drain_and_match_faults(self) -> tuple[FleetProgress | None, list[run_summary.FaultOutcome]]:
        """Wait until spools are empty and the platform has settled; return progress and fault outcomes."""
        if not self.children.lost:
            self._wait_until_settled()
        report = read_progress(self.report_path)
        live_from_s = report.live_from_s if report and report.live_from_s else time.time()
        fault_outcomes = run_summary.match_faults(
            self.job.faults(),
            all_anomalies(self.store, AnomalyQuery()),
            self.store.directory(),
            live_from_s=live_from_s,
            now_s=time.time(),
        )
        if self.publisher is not None:
            self.children.stop(self.publisher)
        return report if self.children.lost else self._wait_until_settled(), fault_outcomes

    def _wait_until_settled(self) -> FleetProgress | None:
        """Wait until every accepted reading has its receipt and the periodic service has caught up."""
        deadline = time.monotonic() + DRAIN_S
        report = self.refresh()
        while report is not None and report.waiting and time.monotonic() < deadline:
            time.sleep(REFRESH_INTERVAL_S)
            report = self.refresh()
        time.sleep(SETTLE_S)
        while self.store.health().rollups_due >= run_summary.MAX_ROLLUPS_DUE and time.monotonic() < deadline:
            time.sleep(REFRESH_INTERVAL_S)
        return read_progress(self.report_path)

    def _has_ended(self, child: ChildProcess) -> bool:
        return child.process is not None and child.process.poll() is not None

    @property
    def _replay_file(self) -> Path:
        return self.report_path.with_name(run_summary.REPLAY_FILE)

    def report_replay(self) -> ReplaySummary | None:
        """Print and return the replay's summary; None where the job is no replay, or it failed."""
        if not self.job.has_end or self.publisher is None:
            return None
        found = run_summary.read_replay(self._replay_file)
        for line in (
            replay_summary.summary_lines(found) if found else [self.children.last_log_line(self.publisher)]
        ):
            self.screen.print_line(f"replay: {line}")
        return found


def run_up(
    job: Job,
    common: CommonSettings,
    gateway: GatewaySettings,
    settings: Settings,
    *,
    for_s: float | None,
    once: bool,
    stop: threading.Event,
) -> int:
    """Run one job from start to end; the exit code is 0 only if the outcome is as expected.

    With ``once`` a run ends with the replay of its files; otherwise it stays up if stdout is a terminal.
    """
    home = common.folder or default_folder()
    keeps_running = not once and for_s is None and sys.stdout.isatty()
    try:
        with folder_lock.hold_folder(home):
            return _run_in_folder(
                job, common, gateway, settings, for_s=for_s, keeps_running=keeps_running, home=home, stop=stop
            )
    except OSError as error:
        if error.errno not in UNUSABLE_FOLDER_ERRORS or error.filename is None:
            raise
        raise SettingsError(
            f"--folder={home} can't be used: {error.filename}: {error.strerror}: mend its permissions or"
            " its disk, or name another folder"
        ) from error


def _run_in_folder(
    job: Job,
    common: CommonSettings,
    gateway: GatewaySettings,
    settings: Settings,
    *,
    for_s: float | None,
    keeps_running: bool,
    home: Path,
    stop: threading.Event,
) -> int:
    """Run the job in a folder that is locked for this run."""
    ports.check_free("--port", gateway.host, gateway.port)
    run_folder = _make_run_folder(home)
    address = f"http://{ports.local_host(gateway.host)}:{gateway.port}"
    shown_addresses = [("API", f"{address}/docs"), ("logs", str(run_folder / "logs"))]
    screen = TerminalDisplay(shown_addresses)
    with ExitStack() as stack:
        servers = stack.enter_context(
            Servers(
                common,
                settings,
                home,
                database=job.name,
                fresh=not job.keeps_database,
                print_line=screen.print_line,
            )
        )
        migrate(servers.dsn)
        grafana_dsn = servers.grafana_dsn()
        shown_addresses[1:1] = [*_addresses_shown(servers, settings), *_grafana_shown(grafana_dsn)]
        _warn_of_open_ports(servers, settings, gateway, screen)
        state = state_file.UpState(
            pid=os.getpid(),
            dsn=servers.dsn,
            broker=servers.broker,
            broker_old=servers.broker_old,
            broker_files=_broker_files(common) | servers.broker_files,
            gateway=address,
            grafana_dsn=grafana_dsn,
        )
        stack.enter_context(state_file.publish_state(home, state))
        store = PostgresStore.open(servers.dsn)
        watched_store = stack.enter_context(closing(PostgresStore.open(servers.dsn, settings=WATCH_SETTINGS)))
        environ = {"TOWNTWIN_DSN": servers.dsn, "TOWNTWIN_BROKER": servers.broker}
        environ |= {f"TOWNTWIN_{name.upper()}": path for name, path in state.broker_files.items()}
        children = ChildProcesses(environ, run_folder / "logs", screen.print_line)
        key_id = None
        try:
            job.enrol(store)
            key_id, key = _create_key(store, gateway, job)
            shown_addresses[:0] = [("console", f"{address}/login#{key}"), ("key", key)]
            _start_platform(children, servers, settings, gateway)
            problem = _problem_at_start(address, servers, children, stop)
            if problem:
                screen.print_line(f"{problem}: see {run_folder / 'logs'}")
                return 1
            publisher = job.start(children, run_folder)
            report_path = run_folder / "fleet.json"
            platform_run = PlatformRun(
                job,
                store,
                watched_store,
                servers,
                children,
                publisher,
                screen,
                report_path,
                stop,
                keeps_running,
            )
            with screen:
                platform_run.watch(for_s)
            if for_s is None and not job.has_end:
                return _print_ended_processes(children, screen)
            report, fault_outcomes = platform_run.drain_and_match_faults()
            problem = _problem(address)
            if problem:
                screen.print_line(f"not healthy at the end: {problem}")
            healthy = children.healthy and not servers.was_restarted and not problem
            _print_ended_processes(children, screen)
            for line in run_summary.newest_dead_letters(store):
                screen.print_line(line)
            summary_of_run = run_summary.summarise_run(
                store,
                report,
                fault_outcomes,
                healthy=healthy,
                has_end=job.has_end,
                replay=platform_run.report_replay(),
            )
            return _print_outcome(summary_of_run, fault_outcomes, screen)
        finally:
            children.stop_all()
            if key_id is not None:
                with suppress(StoreError):
                    ApiKeyStore(store).revoke(key_id, by="up")
            store.close()


def _start_platform(
    children: ChildProcesses, servers: Servers, settings: Settings, gateway: GatewaySettings
) -> None:
    """Start the platform's processes; that of device access only for a broker of this run that has users."""
    children.start("ingest")
    children.start("service")
    children.start(
        "gateway",
        *("--host", gateway.host, "--port", str(gateway.port)),
        environ={"TOWNTWIN_DSN": servers.gateway_dsn(), **_enrolment_environ(servers, settings)},
    )
    if servers.access_environ:
        children.start("access", environ=servers.access_environ)


def _broker_files(common: CommonSettings) -> dict[str, str]:
    """Return the files of the broker's TLS and password by their settings, as absolute paths."""
    files = {name: getattr(common, name) for name in BROKER_FILE_SETTINGS}
    return {name: str(path.resolve()) for name, path in files.items() if path is not None}


def _make_run_folder(home: Path) -> Path:
    """Create the folder of this run's files, without those of the last run."""
    run_folder = home / "run"
    shutil.rmtree(run_folder, ignore_errors=True)
    run_folder.mkdir(parents=True)
    return run_folder


def _addresses_shown(servers: Servers, settings: Settings) -> list[tuple[str, str]]:
    """Return labels and addresses of broker and database for the display."""
    database = without_password(servers.dsn)
    if servers.password_file is not None:
        database += f" ({servers.database_name}; password in {servers.password_file})"
    if servers.broker_old is None:
        broker = without_password(servers.broker)
        if servers.broker_files:
            broker += f" (Mosquitto; password in {servers.broker_files['broker_password_file']})"
        return [("broker", broker), ("database", database)]
    shown_addresses = []
    for version, url in (("5", servers.broker), ("3.1.1", servers.broker_old)):
        broker_url = f"mqtt://{ports.reachable_host(settings.listen)}:{url.rpartition(':')[2]}"
        shown_addresses.append((f"broker, MQTT {version}", broker_url))
    return [*shown_addresses, ("broker access", NO_ACCESS_CONTROL), ("database", database)]


def _enrolment_environ(servers: Servers, settings: Settings) -> dict[str, str]:
    """Return the gateway's settings of the broker that enrolled devices get, unless they are set already."""
    if servers.broker_old is None:
        parts = urlsplit(servers.broker)
        address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        environ = {"TOWNTWIN_GATEWAY_DEVICE_BROKER": address}
    else:
        port = servers.broker.rpartition(":")[2]
        address = f"mqtt://{ports.reachable_host(settings.listen)}:{port}"
        environ = {"TOWNTWIN_GATEWAY_DEVICE_BROKER": address, "TOWNTWIN_GATEWAY_BROKER_ACCESS": "none"}
    return {name: os.environ.get(name, value) for name, value in environ.items()}


def _grafana_shown(grafana_dsn: str | None) -> list[tuple[str, str]]:
    """Return how a Grafana on this machine connects to the embedded database, for the display."""
    if grafana_dsn is None:
        return []
    login = grafana_login(grafana_dsn)
    shown = (
        f"PostgreSQL data source {login['db_host']}, database {login['db_name']}, user {login['db_user']}"
        f" (reads views only), password {login['db_password']}, TLS/SSL mode {login['db_sslmode']};"
        " as files: towntwin dashboards provision DIR"
    )
    return [("Grafana", shown)]


def _warn_of_open_ports(
    servers: Servers, settings: Settings, gateway: GatewaySettings, screen: TerminalDisplay
) -> None:
    """Print warnings about a broker without passwords or a gateway without TLS that the network can reach."""
    if servers.broker_old is not None and not ports.is_loopback(settings.listen):
        screen.print_line(
            f"WARNING: the embedded broker listens on {settings.listen} and asks for NO password: whoever"
            " reaches it can read everything and publish as any device. Use it in a network that you trust;"
            " elsewhere name a broker with passwords (TOWNTWIN_BROKER)."
        )
    if servers.broker_files and not ports.is_loopback(settings.listen):
        screen.print_line(
            f"WARNING: Mosquitto listens on {settings.listen} without TLS: passwords and readings cross the"
            " network readable. Use it in a network that you trust."
        )
    if not ports.is_loopback(gateway.host):
        good = "on this machine alone" if ports.is_wildcard(gateway.host) else "from anywhere"
        screen.print_line(
            f"WARNING: the gateway listens on {gateway.host} without TLS: keys cross the network readable."
            f" The printed key is good {good}; make keys for others by `towntwin key create`."
        )


def _create_key(store: PostgresStore, gateway: GatewaySettings, job: Job) -> tuple[str, str]:
    """Create an API key for this run; return its id and its text. It is restricted to loopback if possible.

    It is not possible where the gateway listens on one address of the network: then requests of this machine
    come from that address.
    """
    loopback = ports.is_loopback(gateway.host) or ports.is_wildcard(gateway.host)
    expires_s = time.time() + KEY_DAYS * 86_400
    made, text = api_keys.create_key(
        ApiKeyStore(store),
        name="up",
        role=Role.ADMINISTRATOR,
        created_by="up",
        expires_s=expires_s,
        loopback=loopback,
    )
    job.assign_key(store, f"key:{made.key_id}")
    return made.key_id, text


def _print_outcome(
    summary: run_summary.RunSummary, fault_outcomes: list[run_summary.FaultOutcome], screen: TerminalDisplay
) -> int:
    for outcome in fault_outcomes:
        verdict = f"found: {outcome.anomaly.reason_en}" if outcome.anomaly else "NOT FOUND"
        screen.print_line(f"planned {outcome.fault.kind} ({outcome.fault.en}): {verdict}")
    screen.print_line(msgspec.json.encode(summary).decode())
    return 0 if run_summary.is_as_expected(summary) else 1


def _print_ended_processes(children: ChildProcesses, screen: TerminalDisplay) -> int:
    """Print again which processes are not restarted any more; return the exit code."""
    for words in children.lost:
        screen.print_line(words)
    return 1 if children.lost else 0


def _unwell_processes(store: PostgresStore) -> list[str]:
    """Return a sentence for each process that is not alive, or was not when it last could report."""
    return [
        process_message(process).en
        for process in store.processes()
        if process.state not in {"alive", "unknown"}
    ]


def _problem_at_start(address: str, servers: Servers, children: ChildProcesses, stop: threading.Event) -> str:
    """Wait until the platform is ready; return the problem if it is not in time, else an empty string."""
    deadline = time.monotonic() + READY_S
    problem = ""
    while time.monotonic() < deadline and not stop.is_set() and not children.lost:
        problem = _problem(address)
        if not problem:
            return ""
        servers.restart_ended()
        children.restart_ended()
        stop.wait(0.2)
    return problem or "it was stopped before it was ready"


def _problem(address: str) -> str:
    """Return why a reading published now would not be stored and judged; empty if it would."""
    try:
        answer = httpx.get(f"{address}/readyz", timeout=5.0)
    except httpx.HTTPError:
        return f"the gateway does not answer on {address}"
    return "" if answer.is_success else str(answer.json().get("detail", answer.text))
