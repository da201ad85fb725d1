"""Maps payloads of other systems to records, as declared in data: ChirpStack, Tasmota, Influx lines, JSON.

Pure functions: bytes, a mapping and the time of arrival in, records out.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from edge.drivers import influx_lines
from edge.drivers.counter_rates import CounterRates
from edge.drivers.measured_record import measured_record
from edge.wire.errors import PayloadError
from edge.wire.quantities import QUANTITIES
from edge.wire.senml import NAME

if TYPE_CHECKING:
    from edge.wire.senml import Record

PayloadFormat = Literal["json", "chirpstack", "tasmota", "influx"]
TimeFormat = Literal["iso", "s", "ms", "us", "ns"]
TIME_PATHS = {"json": None, "chirpstack": "time", "tasmota": "Time", "influx": None}
"""Format -> where its time is, unless the mapping has a path; None is the time of arrival."""
PER_S = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


class ValueMapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where one channel is in a payload.

    Attributes
    ----------
    channel : name of the record
    path : keys and list indices joined by dots; in Influx lines ``measurement.field``; empty if the payload
        is the value itself. In ChirpStack's events it starts in ``object``, what the device profile's codec
        has decoded
    unit : of the value; the value of a known quantity is converted to its wire unit
    quantity : of the channel, where it has another name
    scale, offset : value = raw * scale + offset
    total : the value is a counter that only rises; drivers turn it to a rate [1/s]

    """

    channel: str
    path: str
    unit: str | None = None
    quantity: str | None = None
    scale: float = 1.0
    offset: float = 0.0
    total: bool = False

    def __post_init__(self) -> None:
        """Check what the types do not."""
        if not NAME.fullmatch(self.channel):
            raise ValueError(f"channel {self.channel!r}: use letters, digits and -:./_ only")
        if self.quantity is not None and self.quantity not in QUANTITIES:
            raise ValueError(f"{self.quantity!r} is not a quantity: use one of {', '.join(QUANTITIES)}")
        measured_record(self.channel, 0.0, None if self.total else self.unit, 0.0, quantity=self.quantity)


class PayloadMapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the payloads of one source become records.

    Attributes
    ----------
    format : of the payloads
    values : the channels
    time_path : where the time is; by default as the format has it
    time_format : ``iso``, or the unit of a Unix time; of Influx lines ``ns`` by default
    time_zone : of times without one, such as Tasmota's
    where : path -> text that a payload must have there, else it has no records; tags in Influx lines

    """

    format: PayloadFormat = "json"
    values: tuple[ValueMapping, ...]
    time_path: str | None = None
    time_format: TimeFormat | None = None
    time_zone: str = "UTC"
    where: dict[str, str] = {}

    def __post_init__(self) -> None:
        """Check what the types do not."""
        if not self.values:
            raise ValueError("give at least one value")
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"time_zone {self.time_zone!r} is not known: {error}") from error

    def counter_rates(self) -> CounterRates:
        """Return what turns the values that are counters to rates."""
        return CounterRates({one.channel: one.quantity for one in self.values if one.total})


def map_payload(payload: bytes, mapping: PayloadMapping, *, now_s: float) -> list[Record]:
    """Return the records of a payload; empty if it is not one of those that the mapping selects.

    Parameters
    ----------
    payload : as it arrived
    mapping : of its source
    now_s : time of arrival, of payloads without a time, Unix seconds [s]

    Raises
    ------
    PayloadError
        If the payload can't be read, or has none of the values.

    Examples
    --------
    >>> mapping = PayloadMapping(values=(ValueMapping(channel="ph", path="probes.0.pH", unit="pH"),))
    >>> map_payload(b'{"probes": [{"pH": 7.1}]}', mapping, now_s=1.7e9)[0].value
    7.1

    """
    if mapping.format == "influx":
        return _map_influx(payload, mapping, now_s)
    content = decode_json(payload)
    if any(value_at(content, path) != text for path, text in mapping.where.items()):
        return []
    root = content
    if mapping.format == "chirpstack":
        root = value_at(content, "object")
        if root is None:
            raise PayloadError(
                "the event has no object: give the device profile in ChirpStack a codec that decodes the data"
            )
    time_path = mapping.time_path or TIME_PATHS[mapping.format]
    time_s = now_s if time_path is None else _time(value_at(content, time_path), mapping, time_path)
    raw = {value: value_at(root, value.path) for value in mapping.values}
    return _records({value: one for value, one in raw.items() if one is not None}, time_s)


def decode_json(payload: bytes) -> Any:
    """Decode a JSON payload. Raises `PayloadError`."""
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PayloadError(f"the payload is no JSON: {error}") from error


def _map_influx(payload: bytes, mapping: PayloadMapping, now_s: float) -> list[Record]:
    try:
        points = influx_lines.parse_lines(payload.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise PayloadError(f"the payload is no UTF-8: {error}") from error
    per_s = PER_S.get(mapping.time_format or "ns", 10**9)
    records: list[Record] = []
    for point in points:
        if any(point.tags.get(tag) != text for tag, text in mapping.where.items()):
            continue
        found = {
            value: point.fields[field]
            for value in mapping.values
            for measurement, _, field in [value.path.partition(".")]
            if measurement == point.measurement and field in point.fields
        }
        if found:
            records += _records(found, now_s if point.time is None else point.time / per_s)
    return records


def _records(raw: dict[ValueMapping, Any], time_s: float) -> list[Record]:
    """Return the records of the values that were found."""
    if not raw:
        raise PayloadError("the payload has none of the mapped values: compare its keys with the paths")
    records: list[Record] = []
    for value, one in raw.items():
        if isinstance(one, bool) or not isinstance(one, int | float):
            raise PayloadError(f"{value.path!r} is {str(one)[:40]!r}, not a number")
        try:
            scaled = float(one) * value.scale + value.offset
        except OverflowError as error:
            raise PayloadError(f"{value.path!r} is too large") from error
        unit, quantity = (None, None) if value.total else (value.unit, value.quantity)
        record = measured_record(value.channel, scaled, unit, time_s, quantity=quantity)
        records += [] if record is None else [record]
    return records


def value_at(content: Any, path: str) -> Any:
    """Return what is at a path of a decoded payload, see `ValueMapping`; None if there is nothing."""
    for key in path.split(".") if path else ():
        if isinstance(content, dict):
            content = content.get(key)
        elif isinstance(content, list) and key.isascii() and key.isdigit() and int(key[:9]) < len(content):
            content = content[int(key[:9])]
        else:
            return None
    return content


def _time(raw: Any, mapping: PayloadMapping, path: str) -> float:
    """Return a time of a payload as Unix seconds [s]."""
    kind = mapping.time_format or "iso"
    try:
        if kind == "iso":
            time = datetime.fromisoformat(raw)
            time = time if time.tzinfo else time.replace(tzinfo=ZoneInfo(mapping.time_zone))
            seconds = time.astimezone(UTC).timestamp()
        else:
            seconds = math.nan if isinstance(raw, bool) else float(raw) / PER_S[kind]
    except (TypeError, ValueError, OverflowError) as error:
        raise PayloadError(f"{path!r} is {str(raw)[:40]!r}, not a time ({kind}): {error}") from error
    if not math.isfinite(seconds):
        raise PayloadError(f"{path!r} is not finite")
    return seconds
