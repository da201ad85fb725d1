"""Loads and validates each process's settings from command-line flags, environment variables and defaults.

Each package declares its settings as a frozen `msgspec.Struct` whose fields carry a description, a unit and
bounds. A flag (``--batch-wait-s``) takes precedence over the variable (``TOWNTWIN_INGEST_BATCH_WAIT_S``),
which takes precedence over the default. ``…_FILE`` appended to a variable names a file with its value.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from deploy.errors import DeployError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

VARIABLE_PREFIX = "TOWNTWIN"
FILE_SUFFIX = "_FILE"  # of a variable that names the file with the value
S = TypeVar("S", bound=msgspec.Struct)


class SettingsError(DeployError, ValueError):
    """A setting is invalid; the message names it."""


class CommonSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings common to all processes."""

    dsn: Annotated[
        str | None,
        Meta(
            description="Database: postgresql://user:password@host:port/name; without it `up` brings its own."
        ),
    ] = None
    broker: Annotated[
        str | None,
        Meta(
            description="Broker: mqtt://host:port, or mqtts://host:port with TLS; user:password@ before the"
            " host in the environment only; without it `up` brings its own.",
            extra={"password": "not by flag"},
        ),
    ] = None
    broker_password_file: Annotated[
        Path | None, Meta(description="File with the password of the broker's user in its first line.")
    ] = None
    broker_ca: Annotated[
        Path | None,
        Meta(
            description="Certificate of the authority (PEM) that signed the broker's certificate, for"
            " mqtts://; without it those of the operating system."
        ),
    ] = None
    broker_certificate: Annotated[
        Path | None, Meta(description="Client certificate (PEM) for mqtts://, with its chain.")
    ] = None
    broker_key: Annotated[
        Path | None, Meta(description="Key of the client certificate (PEM, not encrypted).")
    ] = None
    folder: Annotated[
        Path | None,
        Meta(
            description="Folder of the embedded stack of `up`, where other commands find a running one;"
            " without it the user's cache folder."
        ),
    ] = None
    log_format: Annotated[
        str, Meta(description="How log lines look: console or json.", pattern="^(console|json)$")
    ] = "console"
    log_level: Annotated[
        str, Meta(description="Least severe line that is logged.", pattern="^(debug|info|warning|error)$")
    ] = "info"


BROKER_FILE_SETTINGS = ("broker_password_file", "broker_ca", "broker_certificate", "broker_key")


class SettingRow(msgspec.Struct, frozen=True):
    """One setting: its field, flag, environment variable, default, unit and description."""

    name: str
    flag: str
    variable: str
    default: Any
    unit: str
    sentence: str
    repeated: bool
    takes_password_by_flag: bool = True


def setting_rows(settings: type[msgspec.Struct], process: str | None) -> Iterator[SettingRow]:
    """Yield the rows of a settings class; ``process`` is None for the settings common to all processes."""
    hints = get_type_hints(settings, include_extras=True)
    for info in msgspec.structs.fields(settings):
        inner, meta = _split_annotation(hints[info.name])
        default = info.default if info.default is not msgspec.NODEFAULT else info.default_factory
        if callable(default):
            default = default()
        yield SettingRow(
            name=info.name,
            flag="--" + info.name.replace("_", "-"),
            variable="_".join(
                part for part in (VARIABLE_PREFIX, process and process.upper(), info.name.upper()) if part
            ),
            default=default,
            unit=str((meta.extra or {}).get("unit", "")),
            sentence=meta.description or "",
            repeated=get_origin(inner) is list,
            takes_password_by_flag="password" not in (meta.extra or {}),
        )


def add_flags(parser: argparse.ArgumentParser, settings: type[msgspec.Struct], process: str | None) -> None:
    """Add the flags of a settings class to a command's parser."""
    group = parser.add_argument_group(f"{process or 'common'} settings")
    for row in setting_rows(settings, process):
        unit = f" [{row.unit}]" if row.unit else ""
        group.add_argument(
            row.flag,
            dest=_destination(process, row.name),
            metavar="VALUE",
            default=None,
            nargs="?" if isinstance(row.default, bool) else None,
            const="true" if isinstance(row.default, bool) else None,
            help=f"{row.sentence}{unit} (${row.variable}, default: {default_text(row.default)})".replace(
                "%", "%%"
            ),
        )


def load_settings(
    settings: type[S], process: str | None, args: argparse.Namespace, environ: Mapping[str, str]
) -> S:
    """Return the settings of a process, from its flags and the environment.

    Raises
    ------
    SettingsError
        For an invalid value; the message names the setting, the value and what is expected.

    """
    values: dict[str, Any] = {}
    for row in setting_rows(settings, process):
        flag = getattr(args, _destination(process, row.name), None)
        value, source = (flag, row.flag) if flag is not None else _from_environment(row.variable, environ)
        if value is None:
            continue
        if flag is not None and not row.takes_password_by_flag:
            _check_no_password(row, flag)
        read: Any = [part.strip() for part in value.split(",") if part.strip()] if row.repeated else value
        try:
            msgspec.convert({row.name: read}, settings, strict=False, dec_hook=_decode_text)
        except msgspec.ValidationError as error:
            reason = re.sub(r" - at `[^`]*`$", "", str(error))
            shown = repr(value) if source != f"{row.variable}{FILE_SUFFIX}" else repr(environ[source])
            raise SettingsError(
                f"{source}={shown} can't be used: {reason} ({row.sentence.rstrip('.')})"
            ) from error
        values[row.name] = read
    return msgspec.convert(values, settings, strict=False, dec_hook=_decode_text)


def _from_environment(variable: str, environ: Mapping[str, str]) -> tuple[str | None, str]:
    """Return the value of a variable and the name it came by: itself, or the variable that names a file.

    ``TOWNTWIN_DSN_FILE`` names a file that contains what ``TOWNTWIN_DSN`` would: containers and systemd pass
    secrets as files, and every process of a user can read the environment of the others.

    Raises
    ------
    SettingsError
        If both are set, or the file cannot be read as UTF-8 text.

    """
    by_file = f"{variable}{FILE_SUFFIX}"
    path = environ.get(by_file)
    if path is None:
        return environ.get(variable), variable
    if variable in environ:
        raise SettingsError(f"{variable} and {by_file} are both set: remove one of them")
    try:
        return Path(path).read_text("utf-8").strip(), by_file
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{by_file}={path!r} can't be read: {error}") from error


def _check_no_password(row: SettingRow, flag: str) -> None:
    """Raise `SettingsError` for a URL with a password: a command line is readable by every user."""
    _, is_user_given, rest = flag.partition("://")
    user, is_host_given, _ = rest.rpartition("@")
    if is_user_given and is_host_given and ":" in user:
        raise SettingsError(
            f"{row.flag} has a password, which every user of this machine can read in the list of processes:"
            f" put it in {row.variable}, or in a file ({row.flag}-password-file)"
        )


def default_text(default: object) -> str:
    """Return a default as it would be written in the environment."""
    if default is None:
        return "none"
    if isinstance(default, list):
        return ",".join(str(one) for one in default)
    return str(default)


def _decode_text(kind: type, text: Any) -> Any:
    if kind is Path:
        return Path(text)
    raise NotImplementedError(f"a setting of type {kind}")


def _split_annotation(hint: Any) -> tuple[Any, Meta]:
    if get_origin(hint) is Annotated:
        inner, *notes = get_args(hint)
        return inner, next((note for note in notes if isinstance(note, Meta)), Meta())
    return hint, Meta()


def _destination(process: str | None, name: str) -> str:
    return f"{process or 'common'}__{name}"
