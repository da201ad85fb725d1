"""Check Python, database, broker and processes, and print what to do about each problem."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING

from deploy.command_resources import broker_of_settings
from deploy.running_platform import without_password
from deploy.settings import CommonSettings, SettingsError
from ingest_service.storage.contract.errors import StoreError, StoreUnavailableError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from ingest_service.storage.contract.store import Store

CONNECT_S = 3.0


def add(_parser: argparse.ArgumentParser) -> None:
    """Declare no flags of its own."""


def run(_args: argparse.Namespace, common: CommonSettings) -> int:
    """Print one line per check; return 0 if all are good."""
    all_ok = True
    checks = (("python", _python), ("database", _database), ("broker", _broker), ("process", _processes))
    for name, check in checks:
        for is_ok, sentence in check(common):
            all_ok = all_ok and is_ok
            print(f"{'ok  ' if is_ok else 'FAIL'} {name}: {sentence}")
    return 0 if all_ok else 1


def _python(_common: CommonSettings) -> Iterator[tuple[bool, str]]:
    found = ".".join(str(part) for part in sys.version_info[:3])
    yield True, f"{found}, towntwin {version('towntwin')}"


def _database(common: CommonSettings) -> Iterator[tuple[bool, str]]:
    from ingest_service.storage.postgres.store import PostgresStore

    if common.dsn is None:
        yield True, "none named (TOWNTWIN_DSN): `towntwin up` brings an embedded PostgreSQL"
        return
    try:
        store = PostgresStore.open(common.dsn, wait_s=CONNECT_S)
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
    from ingest_service.storage.postgres.store import PostgresStore

    with suppress(StoreError):
        store = PostgresStore.open(common.dsn, wait_s=CONNECT_S)
        try:
            processes = store.processes()
            areas = {one.area_id for one in store.directory().devices}
            writable = not _not_writable(store)
        finally:
            store.close()
        for one in processes:
            location = f" [{one.host}, pid {one.pid}]" if one.pid else ""
            detail = f" ({one.detail})" if one.detail else ""
            yield one.state == "alive", f"{process_messages.process_message(one).en}{detail}{location}"
        readiness = assess_readiness(processes, areas, writable=writable)
        if readiness.ok:
            yield True, "a reading published now would be stored and judged"
        for problem in readiness.problems:
            yield False, f"a reading published now would not be stored and judged: {problem.en}"


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


def _broker(common: CommonSettings) -> Iterator[tuple[bool, str]]:
    if common.broker is None:
        yield True, "none named (TOWNTWIN_BROKER): `towntwin up` brings an embedded broker"
        return
    try:
        broker = broker_of_settings(common)
        with socket.create_connection((broker.host, broker.port), timeout=CONNECT_S):
            yield True, f"{broker} answers"
    except SettingsError as error:
        yield False, str(error)
    except OSError as error:
        yield False, f"{common.broker} does not answer ({error}): start it, or check TOWNTWIN_BROKER"
