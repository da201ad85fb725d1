"""Work the dead letters: list, show, replay once the cause is mended, purge."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from deploy.settings import SettingsError
from deploy.wiring import open_store
from ingest_service.storage.names import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from deploy.settings import Common
    from ingest_service.storage.model import DeadLetter, LetterQuery
    from ingest_service.storage.postgres import PostgresStore

DAY_S = 86_400.0
WIDTH_OF_A_PIPE = 200
AUDITED = ("ids", "reason", "device", "older_than_days", "all")


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("action", choices=["list", "show", "replay", "purge"])
    parser.add_argument("ids", nargs="*", type=int, metavar="ID", help="letters by their number")
    parser.add_argument("--reason", help="those of one reason: channel, unit, device, time, …")
    parser.add_argument("--device", help="those of one device")
    parser.add_argument("--older-than-days", type=float, help="those received before so many days ago")
    parser.add_argument("--all", action="store_true", help="every letter there is")
    parser.add_argument("--limit", type=int, default=50, help="how many to list (default 50)")


def run(args: argparse.Namespace, common: Common) -> int:
    """Do what was asked; 1 where no letter was named by it."""
    from deploy import audit

    query = _query(args)
    if args.action in {"replay", "purge"} and not (args.all or _names_some(query)):
        raise SettingsError(
            f"letters {args.action}: name ids, --reason, --device, --older-than-days or --all"
        )
    store = open_store(common, args)
    try:
        note = partial(audit.note, store, f"letters {args.action}", audit.told(args, *AUDITED))
        return _ACTIONS[args.action](store, query, note)
    finally:
        store.close()


def _query(args: argparse.Namespace) -> LetterQuery:
    from ingest_service.storage.model import LetterQuery

    days = args.older_than_days
    return LetterQuery(
        ids=args.ids or None,
        reason=args.reason,
        device=args.device,
        received_before_s=None if days is None else time.time() - days * DAY_S,
        limit=args.limit,
    )


def _names_some(query: LetterQuery) -> bool:
    return any(part is not None for part in (query.ids, query.reason, query.device, query.received_before_s))


def _list(store: PostgresStore, query: LetterQuery, note: Callable[[], None]) -> int:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("id", "received", "topic", "reason", "state", "replays", "what was wrong")
    found = store.dead_letters(msgspec.structs.replace(query, whole=False))
    if found:
        note()
    for one in found:
        cells = (one.letter_id, _moment(one), one.topic, one.reason, one.state, one.replays, one.detail)
        table.add_row(*(Text(printable(str(cell))) for cell in cells))
    Console(width=None if sys.stdout.isatty() else WIDTH_OF_A_PIPE).print(table)
    return 0 if found else 1


def _show(store: PostgresStore, query: LetterQuery, note: Callable[[], None]) -> int:
    found = store.dead_letters(query)
    if found:
        note()
    for one in found:
        lines = [
            f"letter {one.letter_id}: {one.reason}: {one.detail}",
            f"received {_moment(one)} on {one.topic} as {one.content_type or 'unnamed content'}",
            *(f"{name}: {value}" for name, value in one.properties.items()),
            *one.payload.decode("utf-8", "backslashreplace").splitlines(),
        ]
        print("\n".join(map(printable, lines)), end="\n\n")
    return 0 if found else 1


def _replay(store: PostgresStore, query: LetterQuery, note: Callable[[], None]) -> int:
    asked = store.ask_replay(query)
    if asked:
        note()
    print(f"{asked} letters will be replayed by the ingest process of their area within seconds")
    return 0 if asked else 1


def _purge(store: PostgresStore, query: LetterQuery, note: Callable[[], None]) -> int:
    gone = store.purge_letters(query)
    if gone:
        note()
    print(f"{gone} letters deleted")
    return 0 if gone else 1


def _moment(one: DeadLetter) -> str:
    return datetime.fromtimestamp(one.received_s, UTC).isoformat(timespec="seconds")


_ACTIONS = {"list": _list, "show": _show, "replay": _replay, "purge": _purge}
