"""Converts the options of a driver, a table of a site file, to a typed structure."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edge.wire.errors import EdgeError

Options = TypeVar("Options", bound=msgspec.Struct)


class DriverOptionsError(EdgeError, ValueError):
    """Options or data files of a driver are invalid; the message states the option and the remedy."""


def convert_options(
    options: dict[str, Any], kind: type[Options], *, driver: str, folder: Path = Path()
) -> Options:
    """Return the options as a structure.

    Parameters
    ----------
    options : table of the site file
    kind : structure, with ``forbid_unknown_fields``
    driver : kind of the driver, for the message
    folder : of the site file; options of the type `Path` are relative to it

    Raises
    ------
    DriverOptionsError
        With the path of the option that is unknown, missing or of another type.

    """

    def path(target: type, value: Any) -> Path:
        if target is not Path or not isinstance(value, str):
            raise TypeError(f"expected a path, got {value!r}")
        return folder / value

    try:
        return msgspec.convert(options, kind, strict=True, dec_hook=path)
    except (msgspec.ValidationError, ValueError, TypeError) as error:
        raise DriverOptionsError(f"options of driver {driver!r}: {error}") from error
