"""Create, list and revoke API keys of the gateway."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from deploy import argument_bounds
from deploy.command_resources import open_store
from deploy.settings import SettingsError
from gateway.auth.authorization import ALL_SCOPES
from gateway.auth.principal import ROLES_BY_NAME
from ingest_service.storage.contract import name_rules

if TYPE_CHECKING:
    import argparse

    from deploy.settings import CommonSettings
    from ingest_service.storage.postgres.store import PostgresStore

DAY_S = 86_400.0
MAX_KEY_DAYS = 36_525  # a century; without the flag a key has no end
WIDTH_WITHOUT_TERMINAL = 200


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("action", choices=["create", "list", "revoke"])
    parser.add_argument("id", nargs="?", help="the key to revoke, by its id")
    parser.add_argument("--name", type=argument_bounds.name, help="whose it is, or what for")
    parser.add_argument(
        "--role", choices=list(ROLES_BY_NAME), default="viewer", help="what it may do (default viewer)"
    )
    parser.add_argument("--team", help="the team of a team member, by its id")
    parser.add_argument("--area", help="what it sees: an area, with all below it; without one, everything")
    parser.add_argument(
        "--scope", action="append", choices=ALL_SCOPES, default=[], help="this alone; repeatable"
    )
    parser.add_argument("--days", type=float, help="how long it is good; without it, until it is revoked")
    parser.add_argument("--loopback", action="store_true", help="good on the gateway's own machine alone")


def run(args: argparse.Namespace, common: CommonSettings) -> int:
    """Create, list or revoke keys; return 1 if there is no such key."""
    store = open_store(common, args)
    try:
        return _ACTIONS[args.action](store, args)
    finally:
        store.close()


def _create(store: PostgresStore, args: argparse.Namespace) -> int:
    from deploy import command_audit
    from gateway.auth import api_keys
    from ingest_service.storage.postgres.api_keys import ApiKeyStore

    if not args.name:
        raise SettingsError("key create: say whose it is, with --name")
    if not name_rules.is_valid_name(args.name):
        raise SettingsError(
            f"key create: --name={name_rules.escape_controls(args.name)!r} {name_rules.FORBIDDEN_NAME_ADVICE}"
        )
    if args.days is not None and not 0 < args.days <= MAX_KEY_DAYS:
        raise SettingsError(f"key create: --days has to be more than 0 and at most {MAX_KEY_DAYS:,}")
    if (args.role == "team_member") != (args.team is not None):
        raise SettingsError("key create: --role team_member needs --team, and no other role has one")
    if args.area is not None and args.area not in {one.area_id for one in store.directory().areas}:
        raise SettingsError(f"key create: there is no area {args.area!r} (GET /v1/areas lists them)")
    api_key, text = api_keys.create_key(
        ApiKeyStore(store),
        name=args.name,
        role=ROLES_BY_NAME[args.role],
        area_id=args.area,
        scopes=args.scope,
        expires_s=None if args.days is None else time.time() + args.days * DAY_S,
        loopback=args.loopback,
        team_id=args.team,
        created_by=command_audit.command_principal(),
    )
    command_audit.record_command(store, "key create", api_key.key_id)
    print("keep it, it is not shown again:", file=sys.stderr)
    print(text)
    return 0


def _list(store: PostgresStore, args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ingest_service.storage.postgres.api_keys import ApiKeyStore

    table = Table("id", "name", "role", "area", "scopes", "created", "expires", "revoked", "last used")
    for one in ApiKeyStore(store).keys_in_areas(None if args.area is None else [args.area]):
        times = (one.created_s, one.expires_s, one.revoked_s, one.last_used_s)
        area = one.area_id or "everything"
        cells = (one.key_id, one.name, one.role, area, " ".join(one.scopes) or "all", *map(_time_text, times))
        table.add_row(*(Text(name_rules.escape_controls(cell)) for cell in cells))
    Console(width=None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL).print(table)
    return 0


def _revoke(store: PostgresStore, args: argparse.Namespace) -> int:
    from deploy import command_audit
    from ingest_service.storage.postgres.api_keys import ApiKeyStore

    if not args.id:
        raise SettingsError("key revoke: name the key by its id (towntwin key list)")
    done = ApiKeyStore(store).revoke(args.id, by=command_audit.command_principal())
    if done:
        command_audit.record_command(store, "key revoke", args.id)
    print(f"key {args.id} is revoked" if done else f"there is no key {args.id} that could be revoked")
    return 0 if done else 1


def _time_text(time_s: float | None) -> str:
    return "" if time_s is None else datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M")


_ACTIONS = {"create": _create, "list": _list, "revoke": _revoke}
