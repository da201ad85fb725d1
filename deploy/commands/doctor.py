"""Check Python, clock, database, broker and processes, and print what to do about each problem."""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.broker_probe import mqtt_refusal
from deploy.command_resources import broker_of_settings
from deploy.running_platform import without_password
from deploy.settings import CommonSettings, SettingsError, load_settings
from ingest_service.storage.contract.errors import StoreError, StoreTimeoutError, StoreUnavailableError
from ingest_service.storage.settings import Settings as StoreSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest_service.storage.contract.store import Store
    from ingest_service.storage.health.processes import ProcessInfo
    from ingest_service.storage.postgres.store import PostgresStore

CONNECT_S = 3.0
UNCHECKED = 3
CERTIFICATES_FOLDER = Path("/etc/towntwin/tls")
SYSTEMD = Path("/run/systemd/system")  # there while systemd runs the machine, not in a container
# A frozen database takes connections and answers nothing, so each wait has a limit of its own.
STORE_SETTINGS = StoreSettings(connections=1, connect_timeout_s=3, statement_timeout_s=5, answer_timeout_s=6)
SETTLE_S = 8.0  # living processes report again within this time after the database returned


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--security", action="store_true", help="list what is weak in this installation, why, and what to do"
    )
    parser.add_argument(
        "--environment-file",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="with --security: variables of a process, as systemd reads them; repeatable",
    )
    parser.add_argument(
        "--certificates",
        type=Path,
        metavar="FOLDER",
        default=CERTIFICATES_FOLDER,
        help=f"with --security: folder of `towntwin ca` (default {CERTIFICATES_FOLDER})",
    )
    parser.add_argument(
        "--language", choices=["en", "zh"], default="en", help="with --security: of the texts (default en)"
    )
    parser.add_argument("--json", action="store_true", help="with --security: as JSON, in both languages")


def run(args: argparse.Namespace, common: CommonSettings) -> int:
    """Print one line per check; return 0 if all are good."""
    if args.security:
        return _check_security(args, common)
    if args.environment_file or args.json:
        raise SettingsError("doctor: --environment-file and --json are for --security")
    all_ok = True
    checks = (
        ("python", _python),
        ("clock", _clock),
        ("database", _database),
        ("broker", _broker),
        ("process", _processes),
        ("backup", _backup),
    )
    for name, check in checks:
        for is_ok, sentence in check(common):
            all_ok = all_ok and is_ok
            print(f"{'ok  ' if is_ok else 'FAIL'} {name}: {sentence}")
    return 0 if all_ok else 1


def _check_security(args: argparse.Namespace, common: CommonSettings) -> int:
    """Print what is weak; return 0 if nothing is, 1 if something is, 3 if something could not be checked."""
    from deploy.security_checks.print_report import print_json, print_text
    from deploy.security_checks.process_environments import own_environment, read_environment_file
    from deploy.security_checks.run import check_security

    environments = [
        own_environment(os.environ),
        *(read_environment_file(one) for one in args.environment_file),
    ]
    folder = args.certificates if args.certificates.is_dir() else None
    report = check_security(common, environments, folder)
    if args.json:
        print_json(report)
    else:
        print_text(report, args.language)
    return 1 if report.findings else UNCHECKED if report.unchecked else 0


def _python(_common: CommonSettings) -> Iterator[tuple[bool, str]]:
    found = ".".join(str(part) for part in sys.version_info[:3])
    yield True, f"{found}, towntwin {version('towntwin')}"


def _clock(_common: CommonSettings) -> Iterator[tuple[bool, str]]:
    """Yield whether a time service keeps the machine's clock; a problem only where systemd runs one."""
    from edge.agent.clock_sync import kernel_clock_is_synchronised

    now = datetime.now(UTC).isoformat(timespec="seconds")
    if kernel_clock_is_synchronised():
        yield True, f"{now}, kept by a time service"
    else:
        remedy = "start one (systemd-timesyncd or chrony) and see that it reaches its server"
        yield not SYSTEMD.exists(), f"{now}, not synchronised by a time service: {remedy}"


def _database(common: CommonSettings) -> Iterator[tuple[bool, str]]:
    if common.dsn is None:
        yield True, "none named (TOWNTWIN_DSN): `towntwin up` brings an embedded PostgreSQL"
        return
    try:
        store = _open_store(common.dsn)
    except StoreError as error:
        yield False, _database_advice(error, common.dsn)
        return
    try:
        health = store.health()
        not_writable = _not_writable(store)
    except StoreError as error:
        yield False, _database_advice(error, common.dsn)
        return
    finally:
        store.close()
    yield True, f"{health.edition}, schema {health.schema_version}, {health.readings:,} readings"
    if not_writable:
        yield False, f"it can be read, but nothing can be written: {not_writable}"
    if health.edition.startswith("PostgreSQL"):
        yield (
            True,
            "plain PostgreSQL has no hypertables and no compression: fine for demos, towns want TimescaleDB",
        )


def _database_advice(error: StoreError, dsn: str) -> str:
    """Return a sentence on a database error and its remedy."""
    location = without_password(dsn)
    if isinstance(error, StoreTimeoutError):
        return f"the database of {location} takes longer than {STORE_SETTINGS.statement_timeout_s} s: {error}"
    if isinstance(error, StoreUnavailableError):
        return (
            f"the database does not answer: {error}: see that the server of {location} runs and is "
            "reached, or"
            " check TOWNTWIN_DSN; the embedded one of `towntwin up` is started again by `up` itself, and its"
            " log is postgres/log in the folder of `up`"
        )
    if "db migrate" in str(error) or "newer towntwin" in str(error):
        return str(error)
    return f"the database refuses this user or this database: {error}: check TOWNTWIN_DSN ({location})"


def _processes(common: CommonSettings) -> Iterator[tuple[bool, str]]:
    """Yield a line per process and one on readiness; nothing where the database is unreachable."""
    if common.dsn is None:
        return
    from ingest_service.storage.health import process_messages
    from ingest_service.storage.health.readiness import assess_readiness

    with suppress(StoreError):
        store = _open_store(common.dsn)
        try:
            processes = _settled_processes(store)
            areas = {one.area_id for one in store.directory().devices}
            writable = not _not_writable(store)
        finally:
            store.close()
        for one in processes:
            location = f" [{one.host}, pid {one.pid}]" if one.pid else ""
            detail = f" ({one.detail})" if one.detail else ""
            yield one.state == "alive", f"{process_messages.process_message(one).en}{detail}{location}"
        readiness = assess_readiness(processes, areas, database="writable" if writable else "read-only")
        if readiness.ok:
            yield True, "a reading published now would be stored and judged"
        for problem in readiness.problems:
            yield False, f"a reading published now would not be stored and judged: {problem.en}"


def _open_store(dsn: str) -> PostgresStore:
    """Connect with short time limits. Raises as `PostgresStore.open` does."""
    from ingest_service.storage.postgres.store import PostgresStore

    return PostgresStore.open(dsn, settings=STORE_SETTINGS, wait_s=0.0)


def _settled_processes(store: PostgresStore) -> list[ProcessInfo]:
    """Return the processes; wait up to `SETTLE_S` while one may be alive and report again soon.

    After an outage of the database all heartbeats are old. A process of this machine that has no current
    heartbeat, and that the operating system shows as running, gets the time to report.
    """
    ends_s = time.monotonic() + SETTLE_S
    processes = store.processes()
    while any(_may_report_soon(one) for one in processes) and time.monotonic() < ends_s:
        time.sleep(0.5)
        processes = store.processes()
    return processes


def _may_report_soon(process: ProcessInfo) -> bool:
    if process.state == "unknown":
        return True
    return process.why in {"ended", "gone", "silent"} and _runs_here(process)


def _runs_here(process: ProcessInfo) -> bool:
    """Whether a process runs on this machine, and is neither stopped by a signal nor a zombie."""
    if process.host != socket.gethostname() or not process.pid:
        return False
    try:
        os.kill(process.pid, 0)
        status = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8", errors="replace")
    except ProcessLookupError:
        return False
    except OSError:  # another user's process; or a system without /proc
        return True
    return status.rpartition(")")[2].split()[0] not in {"T", "t", "Z", "X"}


def _not_writable(store: Store) -> str:
    """Return why the database rejects a writing statement, empty if it accepts one.

    The statement deletes the dead letters of an empty list of ids, hence nothing.
    """
    from ingest_service.storage.contract.models import DeadLetterQuery

    try:
        store.purge_dead_letters(DeadLetterQuery(ids=[]))
    except StoreUnavailableError as error:
        return (
            f"{error}: see whether its disk is full, it is a standby, or default_transaction_read_only is on;"
            " devices keep their readings meanwhile"
        )
    return ""


def _backup(_common: CommonSettings) -> Iterator[tuple[bool, str]]:
    """Yield the age of the last backup; it is a problem beyond the limit of `towntwin backup`'s settings."""
    from deploy.backup.backup_folder import last_run
    from deploy.backup.settings import Settings as BackupSettings

    settings = load_settings(BackupSettings, "backup", argparse.Namespace(), os.environ)
    if settings.target is None:
        yield True, "none set up (TOWNTWIN_BACKUP_TARGET): see `towntwin backup --help`"
        return
    try:
        newest = last_run(settings.target)
    except OSError as error:
        yield (
            False,
            f"{settings.target} can't be read by this user ({error.strerror}): run doctor as its owner",
        )
        return
    if newest is None:
        yield (
            False,
            f"{settings.target} has none: run `towntwin backup run`, and mount its disk if it has one",
        )
        return
    age_h = (datetime.now(UTC) - newest).total_seconds() / 3600
    remedy = "" if age_h <= settings.warn_after_h else ": see why the timer's `towntwin backup run` fails"
    yield not remedy, f"the last one in {settings.target} is {age_h:.1f} h old{remedy}"


def _broker(common: CommonSettings) -> Iterator[tuple[bool, str]]:
    if common.broker is None:
        yield True, "none named (TOWNTWIN_BROKER): `towntwin up` brings an embedded broker"
        return
    try:
        broker = broker_of_settings(common)
        with socket.create_connection((broker.host, broker.port), timeout=CONNECT_S):
            pass
        refusal = mqtt_refusal(broker, within_s=CONNECT_S)
        yield not refusal, refusal or f"{broker} answers"
    except SettingsError as error:
        yield False, str(error)
    except OSError as error:
        yield False, f"{broker} does not answer ({error}): start it, or check TOWNTWIN_BROKER"
