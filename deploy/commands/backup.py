"""Back up the database, encrypted, and restore it to a point in time.

`init` makes the key; `run` is for a timer; see docs/howto/operate/back-up-and-restore.md.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from deploy.backup.settings import Settings
from deploy.settings import CommonSettings, SettingsError, add_flags, load_settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

    from deploy.backup.backup_folder import BackupFolder
    from deploy.backup.backup_run import BackedUpServer

END = "end"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("action", choices=["init", "run", "list", "verify", "prune", "restore"])
    parser.add_argument("--full", action="store_true", help="run: make a base backup, also if none is due")
    parser.add_argument(
        "--to",
        metavar="TIME",
        help=f"restore: 2026-11-29T10:30:00+08:00, or {END!r} for the last state that is in the backup",
    )
    add_flags(parser, Settings, "backup")


def run(args: argparse.Namespace, common: CommonSettings) -> int:
    """Run the action; return 1 if it failed."""
    from deploy.backup.backup_folder import BackupFolder
    from deploy.backup.encryption import BackupError, create_key, read_key

    settings = load_settings(Settings, "backup", args, os.environ)
    key_file, target = settings.key_file, settings.target
    if key_file is None or (target is None and args.action != "init"):
        raise SettingsError(
            "backup: name the folder (TOWNTWIN_BACKUP_TARGET) and the key (TOWNTWIN_BACKUP_KEY_FILE)"
        )
    try:
        if args.action == "init":
            create_key(key_file)
            print(f"{key_file}: keep a copy elsewhere; without it no backup can be read")
        elif target is not None:
            _ACTIONS[args.action](BackupFolder(target, read_key(key_file)), settings, common, args)
    except BackupError as error:
        print(f"towntwin: backup: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"towntwin: backup: {error.filename or settings.target}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _run(folder: BackupFolder, settings: Settings, common: CommonSettings, args: argparse.Namespace) -> None:
    from deploy.backup.backup_run import run_backup

    base_every = timedelta(0 if args.full else settings.base_every_h / 24)
    with _server(settings, common) as server:
        result = run_backup(
            server, folder, base_every=base_every, keep=timedelta(settings.keep_days), spool=settings.spool
        )
    base = "a base backup and " if result.has_base else ""
    print(f"{folder.path}: {base}{result.segments} segments of the log, {result.deleted} old files deleted")


@contextmanager
def _server(settings: Settings, common: CommonSettings) -> Iterator[BackedUpServer]:
    """Provide the configured server, or the embedded one, which is started where it does not run."""
    from deploy.backup.backup_run import BackedUpServer
    from deploy.embedded.postgres import EmbeddedPostgres

    if settings.superuser_dsn is not None:
        yield BackedUpServer(settings.superuser_dsn, _programs(settings))
        return
    folder = _embedded_folder(common)
    if not (folder / "data").exists():
        raise SettingsError(
            f"{folder} has no data of an embedded database: name a server by TOWNTWIN_BACKUP_SUPERUSER_DSN"
        )
    with EmbeddedPostgres(folder) as server:
        secret_files = [one for one in sorted(folder.glob("password*")) if one.is_file()]
        yield BackedUpServer(server.dsn("postgres"), _programs(settings), secret_files)


def _programs(settings: Settings) -> Path:
    from deploy.embedded.postgres_binaries import postgres_programs

    return settings.programs or postgres_programs()


def _embedded_folder(common: CommonSettings) -> Path:
    from deploy.embedded.server_environment import default_folder

    return (common.folder or default_folder()).absolute() / "postgres"


def _list(
    folder: BackupFolder, _settings: Settings, _common: CommonSettings, _args: argparse.Namespace
) -> None:
    from deploy.backup.backup_folder import last_run

    for base in folder.bases():
        segments = folder.segments(base)
        size_mb = base.path.stat().st_size / 1e6
        print(f"{base.end.isoformat()}  {size_mb:,.1f} MB  {len(segments)} segments of the log after it")
    newest = last_run(folder.path)
    print(f"last complete run: {newest.isoformat() if newest else 'none'}")


def _verify(
    folder: BackupFolder, settings: Settings, _common: CommonSettings, _args: argparse.Namespace
) -> None:
    from deploy.backup.encryption import BackupError
    from deploy.backup.restoring import verify

    bases = folder.bases()
    if not bases:
        raise BackupError(f"{folder.path} has no backup: run `towntwin backup run`")
    count = verify(folder, bases[-1], _programs(settings), spool=settings.spool)
    print(f"{bases[-1].path}: correct, with {count} segments of the log")


def _prune(
    folder: BackupFolder, settings: Settings, _common: CommonSettings, _args: argparse.Namespace
) -> None:
    with folder.locked():
        for path in folder.prune(timedelta(settings.keep_days), datetime.now(UTC)):
            print(f"deleted {path}")


def _restore(
    folder: BackupFolder, settings: Settings, common: CommonSettings, args: argparse.Namespace
) -> None:
    from deploy.backup.restoring import restore
    from deploy.embedded.server_environment import ServerUser, make_traversable, server_user

    data = (settings.data or _embedded_folder(common) / "data").absolute()
    to = _target_time(args.to)
    if not data.parent.exists():
        make_traversable(data.parent.parent)
        data.parent.mkdir(mode=0o700)
    user = server_user(data)
    owner = data.parent.stat()
    if user is not None and owner.st_uid != 0:  # the owner of the lost data: a server's folder is its own
        user = ServerUser(f"user {owner.st_uid}", owner.st_uid, owner.st_gid)
    elif user is not None:
        os.chown(data.parent, user.uid, user.gid)
    base = restore(folder, _programs(settings), data, to=to, user=user)
    reached = "the end of the log" if to is None else to.isoformat()
    print(f"{data}: restored to {reached} from {base.path.name}; start the server, then run a backup")


def _target_time(text: str | None) -> datetime | None:
    if text == END:
        return None
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        time = datetime.min  # noqa: DTZ901 - refused below as it has no offset
    if time.tzinfo is None:
        raise SettingsError(
            f"--to={text!r} is no time with its offset from UTC: 2026-11-29T10:30:00+08:00, or {END!r}"
        )
    return time


_ACTIONS = {"run": _run, "list": _list, "verify": _verify, "prune": _prune, "restore": _restore}
