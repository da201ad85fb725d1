"""Parses numbers in the cells of recorded files: missing values, decimal and thousands signs."""

from __future__ import annotations

import math
import re
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

THOUSANDS_SPACES = "\u00a0\u202f\u2009"  # blanks used as thousands signs


def number_reader(  # noqa: C901 - one closure for speed: called once per cell
    missing: Iterable[str | float], *, decimal: str = ".", thousands: str = ""
) -> Callable[[object], float]:
    """Build a function that parses a cell to a number; NaN for a cell without a value.

    The function raises ValueError or TypeError if the cell contains anything but a finite number.

    Parameters
    ----------
    missing : texts and numbers that denote "no value"; a text that is a number denotes that number in any
        notation (-9999, -9999.0), also rounded to 32 bits
    decimal : the decimal sign
    thousands : the thousands sign, or an empty string

    Examples
    --------
    >>> read = number_reader(["NULL", -9999], decimal=",", thousands=".")
    >>> read("1.234,5"), read("-9999,00"), read("NULL")
    (1234.5, nan, nan)

    """
    missing_texts = frozenset(str(one).strip() for one in missing) | {""}
    missing_values = frozenset(_missing_numbers(missing))
    is_plain_format = decimal == "." and not thousands
    rewrite = _number_normaliser(decimal, thousands)

    def parse_text(text: str) -> float:
        text = text.strip()
        return math.nan if text in missing_texts else float(text if is_plain_format else rewrite(text))

    def parse_other(cell: object) -> float:
        if cell is None:
            return math.nan
        if isinstance(cell, str):
            return parse_text(cell)
        if isinstance(cell, bool | bytes):
            raise TypeError(cell)
        return float(as_float(cell))

    as_float: Any = float  # raises for cells that it can't convert

    def read(cell: object) -> float:
        kind = cell.__class__
        if kind is str:
            try:
                value = as_float(cell) if is_plain_format else parse_text(str(cell))
            except ValueError:
                value = parse_text(cell)  # type: ignore[arg-type]
            if "_" in cell and value == value:  # type: ignore[operator]  # noqa: PLR0124 - 1_000 is Python's notation
                raise ValueError(cell)
        else:
            value = cell if kind is float else parse_other(cell)
        if value in missing_values:
            return math.nan
        if value - value != 0:  # not finite
            if value != value:  # noqa: PLR0124 - any notation of NaN is a missing value
                return math.nan
            raise ValueError(cell)
        return value

    return read


def _missing_numbers(missing: Iterable[str | float]) -> Iterable[float]:
    """Yield the finite numbers among the missing values, in 64 bits and rounded to 32 bits."""
    for one in missing:
        try:
            value = float(one)
        except ValueError:
            continue
        if math.isfinite(value):
            yield value
            if abs(value) < 3e38:  # the largest 32-bit number is 3.4e38
                yield struct.unpack("f", struct.pack("f", value))[0]


def _number_normaliser(decimal: str, thousands: str) -> Callable[[str], str]:
    """Build a function that rewrites a number with a decimal point and without thousands signs."""
    thousands_signs = (THOUSANDS_SPACES + " " if thousands.isspace() else thousands) if thousands else ""
    grouped_pattern = (
        re.compile(rf"[+-]?\d{{1,3}}(?:[{re.escape(thousands_signs)}]\d{{3}})+(?!\d)")
        if thousands_signs
        else None
    )
    table = str.maketrans("", "", thousands_signs)

    def rewrite(text: str) -> str:
        text = text.strip()
        if decimal != "." and "." in text and "." not in thousands_signs:
            raise ValueError(text)
        if grouped_pattern is not None and any(sign in text for sign in thousands_signs):
            integer_part, decimal_sign, fraction_part = text.partition(decimal)
            if not grouped_pattern.fullmatch(integer_part):
                raise ValueError(text)
            text = integer_part.translate(table) + decimal_sign + fraction_part
        return text.replace(decimal, ".")

    return rewrite
