"""Fixtures of all tests: real servers, a real browser, and recorded data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from deploy.debian_servers.installation import PROGRAMS, Installation, InstallationError
from deploy.embedded.broker import EmbeddedBroker
from deploy.embedded.postgres_binaries import postgres_programs
from deploy.embedded.server_environment import UNPRIVILEGED
from tests.support import browser, not_tested, server_installation
from tests.support import timescale_community as community_edition
from tests.support.run_folders import clear_stale
from tests.support.throwaway_servers import (
    TIMESCALE,
    MosquittoServer,
    NamedServer,
    PostgresServer,
    fresh_database,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[1]
RECORDED = REPOSITORY.parent / "shared/data"


class StartMosquitto(Protocol):
    """Function that starts a further Mosquitto of the test's own."""

    def __call__(self, *, persistence: bool = False, lines: tuple[str, ...] = ()) -> MosquittoServer:
        """Start a Mosquitto with additional lines of configuration."""
        ...


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Pass what an xdist worker did not test to the main process."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["not_tested"] = not_tested.sentences()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Collect what an xdist worker did not test."""
    for sentence in getattr(node, "workeroutput", {}).get("not_tested", []):
        not_tested.note(sentence)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was not tested."""
    for sentence in not_tested.sentences():
        terminalreporter.write_line(f"NOT TESTED: {sentence}", red=True, bold=True)


@pytest.fixture(autouse=True)
def _log_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep commands in this process from configuring logging: a test's streams are closed after it."""
    monkeypatch.setattr("deploy.logging_setup.configure", lambda _common: None)


@pytest.fixture(scope="session")
def real_servers() -> Installation | None:
    """Return the installation of TimescaleDB and Mosquitto; None where they can't be installed."""
    try:
        found = server_installation.provide(print)
    except InstallationError as error:
        print(error)
        return None
    clear_stale(server_installation.runs_folder(found))
    return found


@pytest.fixture(scope="session")
def rabbitmq_installation(real_servers: Installation | None) -> Installation:
    """Return the installation of the real servers with RabbitMQ 4."""
    if real_servers is None:
        not_tested.skip("RabbitMQ is missing: run on Debian as root")
    try:
        server_installation.provide_rabbitmq(real_servers, print)
    except InstallationError as error:
        not_tested.skip(f"RabbitMQ: {error}")
    return real_servers


@pytest.fixture(scope="session")
def plain_server() -> Iterator[PostgresServer]:
    """Provide a plain PostgreSQL from the wheel for throw-away databases."""
    local_installation = Installation(Path("/"))
    clear_stale(server_installation.runs_folder(local_installation))
    server = PostgresServer(local_installation, UNPRIVILEGED, str(postgres_programs()))
    yield from _created(server)


@pytest.fixture(scope="session")
def timescale_server(
    real_servers: Installation | None, request: pytest.FixtureRequest
) -> Iterator[PostgresServer | NamedServer]:
    """Provide a real TimescaleDB (Apache edition), or plain PostgreSQL where there is none."""
    named = os.environ.get("TOWNTWIN_TEST_DSN")
    if named:
        yield NamedServer(named)
    elif real_servers is not None and real_servers.has_timescale:
        yield from _created(PostgresServer(real_servers, "postgres", PROGRAMS, TIMESCALE))
    else:
        not_tested.not_tested(
            "TimescaleDB: plain PostgreSQL stood in for it, so hypertables were not tested;"
            " run on Debian as root, or name a superuser's database with TOWNTWIN_TEST_DSN"
        )
        yield request.getfixturevalue("plain_server")


def _created(server: PostgresServer) -> Iterator[PostgresServer]:
    try:
        server.create()
        yield server
    finally:
        server.remove()


@pytest.fixture
def timescale_dsn(timescale_server: PostgresServer | NamedServer) -> Iterator[str]:
    """Provide a database with TimescaleDB and without rows; see `fresh_database`."""
    with fresh_database(timescale_server) as dsn:
        yield dsn


@pytest.fixture
def plain_dsn(plain_server: PostgresServer) -> Iterator[str]:
    """Provide a database without TimescaleDB and without rows; see `fresh_database`."""
    with fresh_database(plain_server) as dsn:
        yield dsn


@pytest.fixture
def empty_timescale_dsn(timescale_server: PostgresServer | NamedServer) -> Iterator[str]:
    """Provide a database with TimescaleDB and without a schema."""
    with fresh_database(timescale_server, is_empty=True) as dsn:
        yield dsn


@pytest.fixture
def empty_plain_dsn(plain_server: PostgresServer) -> Iterator[str]:
    """Provide a database without TimescaleDB and without a schema."""
    with fresh_database(plain_server, is_empty=True) as dsn:
        yield dsn


@pytest.fixture
def start_mosquitto(real_servers: Installation | None) -> Iterator[StartMosquitto]:
    """Provide a function that starts a Mosquitto; the brokers end with the test."""
    started: list[MosquittoServer] = []

    def start(*, persistence: bool = False, lines: tuple[str, ...] = ()) -> MosquittoServer:
        if real_servers is None or not real_servers.has_mosquitto:
            not_tested.skip("Mosquitto is missing: run on Debian as root, or install Debian's mosquitto")
        server = MosquittoServer(real_servers, "mosquitto", persistence=persistence, lines=lines)
        started.append(server)
        server.start()
        return server

    try:
        yield start
    finally:
        for server in started:
            server.remove()


@pytest.fixture
def mosquitto(start_mosquitto: StartMosquitto) -> MosquittoServer:
    """Return a new Mosquitto without persistence: a kill loses its queued messages."""
    return start_mosquitto()


@pytest.fixture
def open_folder(tmp_path: Path) -> Iterator[Path]:
    """Provide a folder like ``tmp_path`` that, for root, unprivileged users may enter."""
    with server_installation.enterable_folder(tmp_path) as folder:
        yield folder


@pytest.fixture
def embedded_broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """Provide the embedded broker of `towntwin up`."""
    with EmbeddedBroker(tmp_path / "broker") as broker:
        yield broker


@pytest.fixture(scope="session")
def recorded() -> Path:
    """Return the folder of recorded series (TOWNTWIN_DATA, else beside the repository)."""
    folder = Path(os.environ.get("TOWNTWIN_DATA", RECORDED)).resolve()
    if not folder.is_dir():
        not_tested.skip(f"recorded data are missing: {folder} is no folder; name theirs with TOWNTWIN_DATA")
    return folder


@pytest.fixture(scope="session")
def chromium() -> Path:
    """Return the path of Chromium, with a Chinese font installed."""
    try:
        return browser.provide(print)
    except InstallationError as error:
        not_tested.skip(f"the console in a browser: {error}")


@pytest.fixture(scope="session")
def community() -> community_edition.TimescaleCommunity:
    """Return TimescaleDB Community for SQL tests; optional."""
    try:
        return community_edition.provide(print)
    except InstallationError as error:
        not_tested.skip_always(f"SQL on TimescaleDB Community: {error}")
