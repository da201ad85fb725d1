"""Reads a password from the first line of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.wire.errors import WireError

if TYPE_CHECKING:
    from pathlib import Path

MAX_PASSWORD_BYTES = 65_535  # MQTT 5 section 3.1.3.6: a length of two bytes


def read_password(path: Path) -> str:
    """Return the first line of a password file. Raises `WireError` where there is none."""
    try:
        with path.open("rb") as file:
            line = file.readline(MAX_PASSWORD_BYTES + 2).rstrip(b"\r\n")
        password = line.decode("utf-8")
    except OSError as error:
        raise WireError(
            f"password file {path}: can't be read ({error.strerror}): check path and permissions"
        ) from error
    except UnicodeDecodeError as error:
        raise WireError(
            f"password file {path}: is no text in UTF-8: write the password in its first line"
        ) from error
    if not password or len(line) > MAX_PASSWORD_BYTES:
        raise WireError(
            f"password file {path}: its first line is empty or too long: write the password there"
        )
    return password
