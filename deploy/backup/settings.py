"""Settings of `towntwin backup`: where backups are written, by which key, and how long they are kept."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - msgspec evaluates the annotations
from typing import Annotated

import msgspec
from msgspec import Meta


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Folder, key, server and retention of backups."""

    target: Annotated[
        Path | None,
        Meta(description="Folder of the backups, on a second disk or a mounted share."),
    ] = None
    key_file: Annotated[
        Path | None,
        Meta(description="File with the key of the backups, of mode 0600, made by `towntwin backup init`."),
    ] = None
    superuser_dsn: Annotated[
        str | None,
        Meta(
            description="Server that is backed up, as a superuser; without it the embedded one of `up`.",
            extra={"password": "not by flag"},
        ),
    ] = None
    data: Annotated[
        Path | None,
        Meta(description="Data folder that `restore` creates; without it that of the embedded server."),
    ] = None
    programs: Annotated[
        Path | None,
        Meta(
            description="Folder with pg_basebackup and postgres of the server's version, such as"
            " /usr/lib/postgresql/17/bin; without it those of the embedded server."
        ),
    ] = None
    spool: Annotated[
        Path | None,
        Meta(
            description="Folder for unencrypted temporary files of mode 0700; without it the"
            " system's. `verify` needs as much space as the database."
        ),
    ] = None
    base_every_h: Annotated[
        float,
        Meta(
            description="Age of the newest base backup from which `run` makes another.",
            ge=0.0,
            extra={"unit": "h"},
        ),
    ] = 24.0
    keep_days: Annotated[
        float,
        Meta(
            description="Backups allow restoring to each time since so long ago.", ge=0.0, extra={"unit": "d"}
        ),
    ] = 14.0
    warn_after_h: Annotated[
        float,
        Meta(description="Age of the last backup from which `doctor` warns.", gt=0.0, extra={"unit": "h"}),
    ] = 2.0
