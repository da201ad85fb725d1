"""Starts the platform, watches it, stops it, and prints a summary."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import msgspec

from deploy import replay_summary
from deploy.embedded.folder import default_folder
from deploy.fleet import Report, read_report
from deploy.running import without_password
from deploy.settings import SettingsError
from deploy.up import lock, ports
from deploy.up import state as states
from deploy.up import summary as summaries
from deploy.up.children import Child, Children
from deploy.up.screen import Screen
from deploy.up.servers import Servers
from gateway.access import keys
from gateway.access.principal import Role
from ingest_service.storage.accounts import Accounts
from ingest_service.storage.errors import StoreError, StoreUnavailable
from ingest_service.storage.migrate import migrate
from ingest_service.storage.model import AnomalyQuery
from ingest_service.storage.postgres import PostgresStore
from ingest_service.storage.process_words import sentence

if TYPE_CHECKING:
    import threading
    from pathlib import Path

    from deploy.replay_summary import Summary as ReplaySummary
    from deploy.settings import Common
    from deploy.up.job import Job
    from deploy.up.settings import Settings
    from gateway.settings import Settings as GatewaySettings

LOOK_EVERY_S = 0.5
READY_S = 60.0
DRAIN_S = 120.0
SETTLE_S = 3.0
NEWEST = 40
KEY_DAYS = 30
UNUSABLE = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EEXIST}


@dataclass(slots=True)
class Run:
    """One run of `up`, while it runs."""

    job: Job
    store: PostgresStore
    servers: Servers
    children: Children
    publisher: Child | None
    screen: Screen
    report_path: Path
    stop: threading.Event
    stays: bool

    def look(self) -> Report | None:
        """Show how things stand, look after the servers and the children."""
        self.servers.look_after()
        self.children.look_after()
        report = read_report(self.report_path)
        try:
            self.screen.show(
                self.store.health(),
                report,
                self.store.anomalies(AnomalyQuery(limit=NEWEST)),
                self.store.directory(),
                [*self.children.lost, *_not_well(self.store)],
                now_s=time.time(),
            )
        except StoreUnavailable as error:
            self.screen.say(f"the database is away: {error}")
        return report

    def watch(self, for_s: float | None) -> None:
        """Look until the time is over, or somebody stops it; or else until the recorded files are played.

        Where files were played to their end, ``stays`` or a time keep everything up after them.
        """
        ends_s = time.monotonic() + for_s if for_s else None
        holds = False
        while not self.stop.wait(LOOK_EVERY_S):
            self.look()
            if self.children.lost and (for_s or self.job.ends):
                return  # it comes to nothing any more
            if not holds and self.job.ends and self.publisher is not None and self._ended(self.publisher):
                holds = (self.stays or ends_s is not None) and self._show_replayed()
                if not holds:
                    return
            if ends_s is not None and time.monotonic() >= ends_s:
                return

    def _show_replayed(self) -> bool:
        """Say that the files are played and the console stays; False where the replay failed."""
        if summaries.read_replay(self._replay_file) is None:
            return False
        self.replayed()
        until = "Ctrl-C" if self.stays else "the end of --for"
        self.screen.say(f"the recorded files are played; everything stays up until {until}")
        return True

    def finish(self) -> tuple[Report | None, list[summaries.Found]]:
        """Let the devices empty their spools and the platform settle; which faults are known then."""
        if not self.children.lost:
            self._settle()
        report = read_report(self.report_path)
        live_from_s = report.live_from_s if report and report.live_from_s else time.time()
        answers = summaries.found(
            self.job.faults(),
            self.store.anomalies(AnomalyQuery(limit=summaries.MANY)),
            self.store.directory(),
            live_from_s=live_from_s,
            now_s=time.time(),
        )
        if self.publisher is not None:
            self.children.stop(self.publisher)
        return report if self.children.lost else self._settle(), answers

    def _settle(self) -> Report | None:
        """Wait until every reading that was taken has its receipt, and the periodic service has looked."""
        deadline = time.monotonic() + DRAIN_S
        report = self.look()
        while report is not None and report.waiting and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)
            report = self.look()
        time.sleep(SETTLE_S)
        while self.store.health().rollups_due >= summaries.BEHIND and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)
        return read_report(self.report_path)

    def _ended(self, child: Child) -> bool:
        return child.process is not None and child.process.poll() is not None

    @property
    def _replay_file(self) -> Path:
        return self.report_path.with_name(summaries.REPLAY_FILE)

    def replayed(self) -> ReplaySummary | None:
        """What the replay came to, where the job is one; the screen has why, if it failed."""
        if not self.job.ends or self.publisher is None:
            return None
        found = summaries.read_replay(self._replay_file)
        for line in replay_summary.lines(found) if found else [self.children.last_words(self.publisher)]:
            self.screen.say(f"replay: {line}")
        return found


def run(
    job: Job,
    common: Common,
    gateway: GatewaySettings,
    settings: Settings,
    *,
    for_s: float | None,
    once: bool,
    stop: threading.Event,
) -> int:
    """Do one job from start to end; 0 only if all of it is as it should be.

    With ``once`` a replay ends with its files; else it stays up on a terminal, where a person can look at it.
    """
    home = common.folder or default_folder()
    stays = not once and for_s is None and sys.stdout.isatty()
    try:
        with lock.held(home):
            return _run(job, common, gateway, settings, for_s=for_s, stays=stays, home=home, stop=stop)
    except OSError as error:
        if error.errno not in UNUSABLE or error.filename is None:
            raise
        raise SettingsError(
            f"--folder={home} can't be used: {error.filename}: {error.strerror}: mend its permissions or"
            " its disk, or name another folder"
        ) from error


def _run(
    job: Job,
    common: Common,
    gateway: GatewaySettings,
    settings: Settings,
    *,
    for_s: float | None,
    stays: bool,
    home: Path,
    stop: threading.Event,
) -> int:
    """The same, in a folder that no other run uses."""
    ports.check_free("--port", gateway.host, gateway.port)
    playground = _playground(home)
    address = f"http://{ports.near(gateway.host)}:{gateway.port}"
    shown = [("API", f"{address}/docs"), ("logs", str(playground / "logs"))]
    screen = Screen(shown)
    with ExitStack() as stack:
        servers = stack.enter_context(
            Servers(common, settings, home, database=job.name, fresh=not job.keeps, say=screen.say)
        )
        shown[1:1] = _places(servers, settings)
        _warn(servers, settings, gateway, screen)
        state = states.State(
            pid=os.getpid(),
            dsn=servers.dsn,
            broker=servers.broker,
            broker_old=servers.broker_old,
            gateway=address,
        )
        stack.enter_context(states.written(home, state))
        migrate(servers.dsn)
        store = PostgresStore.open(servers.dsn)
        environ = {"TOWNTWIN_DSN": servers.dsn, "TOWNTWIN_BROKER": servers.broker}
        children = Children(environ, playground / "logs", screen.say)
        key_id = None
        try:
            job.enrol(store)
            key_id, key = _key(store, gateway)
            shown[:0] = [("console", f"{address}/login#{key}"), ("key", key)]
            children.start("ingest")
            children.start("service")
            children.start(
                "gateway",
                *("--host", gateway.host, "--port", str(gateway.port)),
                environ={"TOWNTWIN_DSN": servers.gateway_dsn()},
            )
            problem = _problem_at_start(address, servers, children, stop)
            if problem:
                screen.say(f"{problem}: see {playground / 'logs'}")
                return 1
            publisher = job.start(children, playground)
            report_path = playground / "fleet.json"
            one = Run(job, store, servers, children, publisher, screen, report_path, stop, stays)
            with screen:
                one.watch(for_s)
            if for_s is None and not job.ends:
                return _farewell(children, screen)
            report, answers = one.finish()
            problem = _problem(address)
            if problem:
                screen.say(f"not healthy at the end: {problem}")
            healthy = children.healthy and not servers.was_restarted and not problem
            _farewell(children, screen)
            amount = summaries.of_run(
                store, report, answers, healthy=healthy, ends=job.ends, replay=one.replayed()
            )
            return _say(amount, answers, screen)
        finally:
            children.stop_all()
            if key_id is not None:
                with suppress(StoreError):
                    Accounts(store).revoke(key_id, by="up")
            store.close()


def _playground(home: Path) -> Path:
    """The folder of this run's files, made anew."""
    playground = home / "run"
    shutil.rmtree(playground, ignore_errors=True)
    playground.mkdir(parents=True)
    return playground


def _places(servers: Servers, settings: Settings) -> list[tuple[str, str]]:
    """Where devices publish and where the data are, to be shown."""
    database = without_password(servers.dsn)
    if servers.password_file is not None:
        database += f" (password in {servers.password_file})"
    if servers.broker_old is None:
        return [("broker", without_password(servers.broker)), ("database", database)]
    shown = []
    for version, url in (("5", servers.broker), ("3.1.1", servers.broker_old)):
        place = f"mqtt://{ports.far(settings.listen)}:{url.rpartition(':')[2]}"
        shown.append((f"broker, MQTT {version}", place))
    return [*shown, ("database", database)]


def _warn(servers: Servers, settings: Settings, gateway: GatewaySettings, screen: Screen) -> None:
    """Warn of what a network can reach without a password."""
    if servers.broker_old is not None and not ports.is_loopback(settings.listen):
        screen.say(
            f"WARNING: the embedded broker listens on {settings.listen} and asks for NO password: whoever"
            " reaches it can read everything and publish as any device. Use it in a network that you trust;"
            " elsewhere name a broker with passwords (TOWNTWIN_BROKER)."
        )
    if not ports.is_loopback(gateway.host):
        good = "on this machine alone" if ports.is_wildcard(gateway.host) else "from anywhere"
        screen.say(
            f"WARNING: the gateway listens on {gateway.host} without TLS: keys cross the network readable."
            f" The printed key is good {good}; make keys for others by `towntwin key create`."
        )


def _key(store: PostgresStore, gateway: GatewaySettings) -> tuple[str, str]:
    """A key for this run: its id, and what is shown. It is good on this machine alone, as far as that works.

    A gateway that listens on one address of the network sees this machine's own requests come from there.
    """
    loopback = ports.is_loopback(gateway.host) or ports.is_wildcard(gateway.host)
    expires_s = time.time() + KEY_DAYS * 86_400
    made, text = keys.mint(
        Accounts(store),
        name="up",
        role=Role.ADMINISTRATOR,
        created_by="up",
        expires_s=expires_s,
        loopback=loopback,
    )
    return made.key_id, text


def _say(summary: summaries.Summary, answers: list[summaries.Found], screen: Screen) -> int:
    for one in answers:
        verdict = f"found: {one.anomaly.reason_en}" if one.anomaly else "NOT FOUND"
        screen.say(f"planned {one.fault.kind} ({one.fault.en}): {verdict}")
    screen.say(msgspec.json.encode(summary).decode())
    return 0 if summaries.is_good(summary) else 1


def _farewell(children: Children, screen: Screen) -> int:
    """Say at the end once more which processes ended for good; the exit code."""
    for words in children.lost:
        screen.say(words)
    return 1 if children.lost else 0


def _not_well(store: PostgresStore) -> list[str]:
    """A sentence for each process that is not alive."""
    return [sentence(one).en for one in store.processes() if one.state != "alive"]


def _problem_at_start(address: str, servers: Servers, children: Children, stop: threading.Event) -> str:
    """What the platform lacks once it had time to start; nothing where it is ready."""
    deadline = time.monotonic() + READY_S
    problem = ""
    while time.monotonic() < deadline and not stop.is_set() and not children.lost:
        problem = _problem(address)
        if not problem:
            return ""
        servers.look_after()
        children.look_after()
        stop.wait(0.2)
    return problem or "it was stopped before it was ready"


def _problem(address: str) -> str:
    """Why a reading published now would not be stored and judged; nothing where it would."""
    try:
        answer = httpx.get(f"{address}/readyz", timeout=5.0)
    except httpx.HTTPError:
        return f"the gateway does not answer on {address}"
    return "" if answer.is_success else str(answer.json().get("detail", answer.text))
