"""Expands Grafana's macros and variables as its PostgreSQL data source does.

Source: Grafana, pkg/tsdb/grafana-postgresql-datasource (macros) and its documentation of the PostgreSQL data
source and of variable formats. Reimplemented from their behaviour; tests check the documented cases.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

_MACRO = re.compile(r"\$(__[a-zA-Z]+)\(([^)]*)\)")
_VARIABLE = re.compile(r"\$\{(\w+)(?::(\w+))?\}|\$(\w+)")
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class MacroError(ValueError):
    """The error that Grafana would show in the panel instead of data."""


@dataclass(frozen=True, slots=True)
class PanelRequest:
    """A request of a panel: time range, interval, and values of the variables."""

    start: datetime
    end: datetime
    interval_s: float = 300.0
    variables: dict[str, list[str]] = field(default_factory=dict)
    timescale: bool = False
    several: frozenset[str] = frozenset()
    """Variables that may have several values or All: without a format, even one value is quoted."""


def expand(sql: str, panel: PanelRequest) -> str:
    """Return a query as the database gets it: first variables (browser), then macros (server) expanded."""
    with_variables = _VARIABLE.sub(lambda found: _variable(found, panel), sql)
    return _MACRO.sub(lambda found: _macro(found, with_variables, panel), with_variables)


def _variable(found: re.Match[str], panel: PanelRequest) -> str:
    braced, form, plain = found.groups()
    name = braced or plain
    if name in ("__interval", "__interval_ms"):
        return str(round(panel.interval_s * 1000)) if name.endswith("_ms") else _duration(panel.interval_s)
    if name.startswith("__"):
        return found[0]
    if name not in panel.variables:
        raise MacroError(f"there is no variable {name!r}")
    return _formatted(panel.variables[name], form, several=name in panel.several)


def _formatted(values: list[str], form: str | None, *, several: bool) -> str:
    """Format a variable's values as documented; without a format, multi-value variables are quoted."""
    if form in ("csv", "raw"):
        return ",".join(values)
    if form is None and len(values) == 1 and not several:
        return values[0].replace("'", "''")
    if form == "doublequote":
        return ",".join('"' + value.replace('"', '\\"') + '"' for value in values)
    if form in (None, "sqlstring", "singlequote"):
        quote = "\\'" if form == "singlequote" else "''"
        return ",".join("'" + value.replace("'", quote) + "'" for value in values)
    raise MacroError(f"format {form!r} is not one that SQL is written with here")


def _macro(found: re.Match[str], sql: str, panel: PanelRequest) -> str:  # noqa: C901, PLR0911, PLR0912 - one line a macro
    name, arguments = found[1], [part.strip() for part in found[2].split(",")]
    start, end = _rfc3339(panel.start), _rfc3339(panel.end)
    column = arguments[0]
    if name == "__timeGroup" and sql[found.end() : found.end() + 1] == ",":
        name = "__timeGroupAlias"  # legacy behaviour: a group right before a comma adds its alias
    match name:
        case "__time":
            return f'{column} AS "time"'
        case "__timeEpoch":
            return f'extract(epoch from {column}) as "time"'
        case "__timeFilter":
            return f"{column} BETWEEN '{start}' AND '{end}'"
        case "__timeFrom":
            return f"'{start}'"
        case "__timeTo":
            return f"'{end}'"
        case "__timeGroup" | "__timeGroupAlias":
            return _group(column, arguments, panel) + (' AS "time"' if name.endswith("Alias") else "")
        case "__unixEpochFilter":
            return f"{column} >= {int(panel.start.timestamp())} AND {column} <= {int(panel.end.timestamp())}"
        case "__unixEpochFrom":
            return str(int(panel.start.timestamp()))
        case "__unixEpochTo":
            return str(int(panel.end.timestamp()))
        case "__unixEpochNanoFilter":
            return f"{column} >= {_nano(panel.start)} AND {column} <= {_nano(panel.end)}"
        case "__unixEpochNanoFrom":
            return str(_nano(panel.start))
        case "__unixEpochNanoTo":
            return str(_nano(panel.end))
        case "__unixEpochGroup" | "__unixEpochGroupAlias":
            seconds = _number(_seconds(arguments))
            alias = ' AS "time"' if name.endswith("Alias") else ""
            return f"floor(({column})/{seconds})*{seconds}{alias}"
    raise MacroError(f"unknown macro {name!r}")


def _group(column: str, arguments: list[str], panel: PanelRequest) -> str:
    seconds = _seconds(arguments)
    if panel.timescale:
        return f"time_bucket('{seconds:.3f}s',{column})"
    return f"floor(extract(epoch from {column})/{_number(seconds)})*{_number(seconds)}"


def fill_mode(sql: str) -> str | None:
    """Return how Grafana fills missing times: NULL, previous or a number; None where it does not."""
    for found in _MACRO.finditer(sql):
        arguments = [part.strip() for part in found[2].split(",")]
        if found[1].startswith(("__timeGroup", "__unixEpochGroup")) and len(arguments) == 3:
            if arguments[2] not in ("NULL", "previous"):
                _fill_value(arguments[2])
            return arguments[2]
    return None


def filled_series(
    rows: dict[float, float | None], sql: str, panel: PanelRequest
) -> dict[float, float | None]:
    """Return a series by time [s] as the panel gets it, with every interval of the range if the query fills.

    Missing values become null, the previous value (null before the first), or the number.
    """
    mode = fill_mode(sql)
    if mode is None:
        return rows
    (arguments,) = [
        [part.strip() for part in found[2].split(",")]
        for found in _MACRO.finditer(sql)
        if found[2].count(",") == 2
    ]
    step = _seconds(arguments)
    at, last = panel.start.timestamp() // step * step, None
    made: dict[float, float | None] = {}
    while at <= panel.end.timestamp():
        last = rows.get(at, last)
        missing = last if mode == "previous" else None if mode == "NULL" else _fill_value(mode)
        made[at] = rows.get(at, missing)
        at += step
    return made


def _fill_value(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise MacroError(f"error parsing fill value {text}") from error


def _nano(time: datetime) -> int:
    return int(time.timestamp()) * 1_000_000_000 + time.microsecond * 1000


def _seconds(arguments: list[str]) -> float:
    if len(arguments) < 2:
        raise MacroError("a group needs a time column and an interval")
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|[smhdw])", arguments[1].strip("'"))
    if found is None:
        raise MacroError(f"error parsing interval {arguments[1]}")
    return timedelta(seconds=float(found[1]) * _UNITS[found[2]]).total_seconds()


def _duration(seconds: float) -> str:
    seconds_rounded = round(seconds)
    for unit in ("d", "h", "m"):
        if seconds_rounded % _UNITS[unit] == 0:
            return f"{seconds_rounded // int(_UNITS[unit])}{unit}"
    return f"{seconds_rounded}s"


def _number(seconds: float) -> str:
    return f"{seconds:g}"


def _rfc3339(time: datetime) -> str:
    text = time.astimezone(UTC).replace(tzinfo=None).isoformat()
    return (text.rstrip("0").rstrip(".") if "." in text else text) + "Z"
