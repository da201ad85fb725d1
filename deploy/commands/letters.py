"""List, show, replay (once the cause is fixed) or purge dead letters, the messages that ingest refused."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from deploy import argument_bounds
from deploy.command_resources import open_store
from deploy.settings import SettingsError
from ingest_service.storage.contract.name_rules import escape_controls

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from deploy.settings import CommonSettings
    from ingest_service.storage.contract.models import DeadLetter, DeadLetterQuery
    from ingest_service.storage.postgres.store import PostgresStore

DAY_S = 86_400.0
WIDTH_WITHOUT_TERMINAL = 200
MAX_DAYS = 36_525  # a century
MAX_LISTED = 100_000
AUDITED_ARGUMENTS = ("ids", "reason", "device", "older_than_days", "all")


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("action", choices=["list", "show", "replay", "purge"])
    parser.add_argument(
        "ids", nargs="*", type=argument_bounds.identifier, metavar="ID", help="letters by their number"
    )
    parser.add_argument("--reason", help="those of one reason: channel, unit, device, time, …")
    parser.add_argument("--device", help="those of one device")
    parser.add_argument(
        "--older-than-days",
        type=argument_bounds.bounded_number(0, MAX_DAYS),
        help="those received before so many days ago",
    )
    parser.add_argument("--all", action="store_true", help="every letter there is")
    parser.add_argument(
        "--limit",
        type=argument_bounds.bounded_integer(1, MAX_LISTED),
        default=50,
        help="how many to list (default 50)",
    )


def run(args: argparse.Namespace, common: CommonSettings) -> int:
    """List, show, replay or purge; return 1 if no dead letter matches."""
    from deploy import command_audit

    query = _query(args)
    if args.action in {"replay", "purge"} and not (args.all or _has_filter(query)):
        raise SettingsError(
            f"letters {args.action}: name ids, --reason, --device, --older-than-days or --all"
        )
    store = open_store(common, args)
    try:
        record_command = partial(
            command_audit.record_command,
            store,
            f"letters {args.action}",
            command_audit.command_arguments(args, *AUDITED_ARGUMENTS),
        )
        return _ACTIONS[args.action](store, query, record_command)
    finally:
        store.close()


def _query(args: argparse.Namespace) -> DeadLetterQuery:
    from ingest_service.storage.contract.models import DeadLetterQuery

    days = args.older_than_days
    return DeadLetterQuery(
        ids=args.ids or None,
        reason=args.reason,
        device=args.device,
        received_before_s=None if days is None else time.time() - days * DAY_S,
        limit=args.limit,
    )


def _has_filter(query: DeadLetterQuery) -> bool:
    return any(part is not None for part in (query.ids, query.reason, query.device, query.received_before_s))


def _list(store: PostgresStore, query: DeadLetterQuery, record_command: Callable[[], None]) -> int:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("id", "received", "topic", "reason", "state", "replays", "what was wrong")
    found = store.dead_letters(msgspec.structs.replace(query, whole=False))
    if found:
        record_command()
    for one in found:
        cells = (
            one.letter_id,
            _received_text(one),
            one.topic,
            one.reason,
            one.state,
            one.replays,
            one.detail,
        )
        table.add_row(*(Text(escape_controls(str(cell))) for cell in cells))
    Console(width=None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL).print(table)
    return 0 if found else 1


def _show(store: PostgresStore, query: DeadLetterQuery, record_command: Callable[[], None]) -> int:
    found = store.dead_letters(query)
    if found:
        record_command()
    for one in found:
        lines = [
            f"letter {one.letter_id}: {one.reason}: {one.detail}",
            f"received {_received_text(one)} on {one.topic} as {one.content_type or 'unnamed content'}",
            *(f"{name}: {value}" for name, value in one.properties.items()),
            *one.payload.decode("utf-8", "backslashreplace").splitlines(),
        ]
        print("\n".join(map(escape_controls, lines)), end="\n\n")
    return 0 if found else 1


def _replay(store: PostgresStore, query: DeadLetterQuery, record_command: Callable[[], None]) -> int:
    requested = store.request_replay(query)
    if requested:
        record_command()
    print(f"{requested} letters will be replayed by the ingest process of their area within seconds")
    return 0 if requested else 1


def _purge(store: PostgresStore, query: DeadLetterQuery, record_command: Callable[[], None]) -> int:
    purged = store.purge_dead_letters(query)
    if purged:
        record_command()
    print(f"{purged} letters deleted")
    return 0 if purged else 1


def _received_text(one: DeadLetter) -> str:
    return datetime.fromtimestamp(one.received_s, UTC).isoformat(timespec="seconds")


_ACTIONS = {"list": _list, "show": _show, "replay": _replay, "purge": _purge}
