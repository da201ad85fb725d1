"""Converts the options of a driver, a table of a site file, to a typed structure."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from edge.wire.errors import EdgeError

Options = TypeVar("Options", bound=msgspec.Struct)


class DriverOptionsError(EdgeError, ValueError):
    """Options or data files of a driver are invalid; the message states the option and the remedy."""


def convert_options(options: dict[str, Any], kind: type[Options], *, driver: str) -> Options:
    """Return the options as a structure.

    Parameters
    ----------
    options : table of the site file
    kind : structure, with ``forbid_unknown_fields``
    driver : kind of the driver, for the message

    Raises
    ------
    DriverOptionsError
        With the path of the option that is unknown, missing or of another type.

    """
    try:
        return msgspec.convert(options, kind, strict=True)
    except (msgspec.ValidationError, ValueError, TypeError) as error:
        raise DriverOptionsError(f"options of driver {driver!r}: {error}") from error
