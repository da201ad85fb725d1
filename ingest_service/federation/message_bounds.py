"""Checks the times and values of forwarded messages, which API, rollups and service could not read otherwise.

Types and their ranges are checked as a message is decoded (`edge.wire.federation`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from analytics.core.flags import Flag
from analytics.core.tick import LARGEST_USABLE_VALUE
from edge.wire import federation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edge.wire.federation import AnyMessage, ForwardedAnomaly, ForwardedIncident, RollupColumns

PASS: Final = int(Flag.PASS)
EARLIEST_S: Final = float(2**28)
"""The earliest time that a town's ingest can be set to take (1978)."""
MAX_AHEAD_S: Final = 3660 * 86_400.0
"""Ten years: what API and rollups can show. A wrong clock of a town is its own to detect."""
MAX_DEPTH: Final = 50
"""Levels of nested objects and arrays, of evidence and other details."""
LARGEST_FLOAT32: Final = 3.4028235e38
QUARTER_US: Final = 900_000_000
PAST_FIELDS: Final = (
    "started_s",
    "last_s",
    "returned_s",
    "acknowledged_s",
    "filed_s",
    "dispatched_s",
    "reported_s",
    "closed_s",
)
PLANNED_FIELDS: Final = ("shelved_until_s", "extended_until_s", "held_until_s")
BOUNDS_BY_COLUMN: Final = {
    "min": LARGEST_USABLE_VALUE,
    "max": LARGEST_USABLE_VALUE,
    "total": LARGEST_USABLE_VALUE,
    "weight": LARGEST_USABLE_VALUE,
    "weighted": LARGEST_USABLE_VALUE**2,
    "expected": LARGEST_FLOAT32,
    "spread": LARGEST_FLOAT32,
}
"""Of rollups, the largest part of one reading in each column; sums have at most so much for each reading."""


class MessageRefusal(NamedTuple):
    """Why a message was not stored, or not all of it: reason of the dead letter, and the remedy."""

    reason: str
    detail: str


class _OutOfBoundsError(Exception):
    """A part of a message is out of bounds; the arguments are those of `MessageRefusal`."""


class MessageBounds:
    """Bounds of the times and values of messages.

    Parameters
    ----------
    now_s : the receiver's clock, Unix seconds [s]

    """

    def __init__(self, now_s: float) -> None:
        self._now_s = now_s

    def refusal_of(self, found: AnyMessage) -> MessageRefusal | None:
        """Return why a message is refused as a whole, or None."""
        try:
            self._check(found)
        except _OutOfBoundsError as error:
            return MessageRefusal(*error.args)
        return None

    def is_future(self, forwarder: int) -> bool:
        """Whether a forwarder [us] took over further ahead of the receiver's clock than is followed."""
        return forwarder / 1e6 - self._now_s > federation.FORWARDER_AHEAD_S

    def _check(self, found: AnyMessage) -> None:  # noqa: C901, PLR0912 - one case for each kind
        if self.is_future(found.forwarder):
            ahead_s = found.forwarder / 1e6 - self._now_s
            raise _OutOfBoundsError(
                federation.FORWARDER_CLOCK,
                f"the forwarder took over {ahead_s / 86_400:.0f} days after now, by its own clock: set the"
                " clock of the town's machine and restart the forwarder; it has kept everything",
            )
        match found:
            case federation.ForwardedReadings():
                self._check_readings(found)
            case federation.ForwardedRollups():
                for columns in found.series:
                    self._check_rollups(columns)
            case federation.ForwardedDevices():
                for device in found.devices:
                    what = f"the health of device {device.device_id!r}"
                    self._check_us(what, [device.received_us])
                    _check_values(f"{what}, clock_offset_s", [device.clock_offset_s])
                    _check_depth(what, device.status)
            case federation.ForwardedAssessments():
                self._check_assessments(found)
            case federation.ForwardedEstimates():
                what = f"the estimates of {found.quantity}"
                self._check_us(what, [*found.at_us, *found.measured_us])
                _check_values(what, [*found.estimated, *found.deviation])
            case federation.ForwardedForecasts():
                for one in found.forecasts:
                    what = f"the forecast of {one.site_id}/{one.quantity}"
                    self._check_us(what, [one.issued_us] if one.times_us else [])
                    self._check_us(what, one.times_us)
                    _check_values(what, [*one.values, *one.low, *one.high])
            case federation.ForwardedAnomalies():
                for anomaly in found.anomalies:
                    self._check_anomaly(anomaly)
            case federation.ForwardedIncidents():
                for incident in found.incidents:
                    self._check_incident(incident)
            case federation.CommandResults():
                self._check_s("the results of commands", [one.at_s for one in found.results])

    def _check_readings(self, found: federation.ForwardedReadings) -> None:
        for one in found.series:
            what = f"readings of {one.site_id}/{one.quantity}"
            self._check_us(what, one.time_us)
            self._check_us(f"{what}, received", one.received_us)
            # Any finite value is stored as the town has flagged it; none passes that fails any gross range.
            passed = [
                value for value, quality in zip(one.value, one.quality, strict=False) if quality == PASS
            ]
            _check_values(f"{what}, with the flag 1", passed)
            _check_values(what, [*one.expected, *one.spread], LARGEST_FLOAT32)

    def _check_rollups(self, columns: RollupColumns) -> None:
        what = f"rollups of {columns.site_id}/{columns.quantity}"
        self._check_us(what, columns.bucket_us)
        if any(bucket % QUARTER_US for bucket in columns.bucket_us):
            raise _OutOfBoundsError("time", f"{what} begin at other times than quarters of an hour")
        for parts in (columns.good, columns.judged):
            if any(part > count for part, count in zip(parts, columns.count, strict=False)):
                raise _OutOfBoundsError("value", f"{what} have more good or judged readings than readings")
        for name, largest in BOUNDS_BY_COLUMN.items():
            counts = [1] * len(columns.count) if name in {"min", "max"} else columns.count
            means = [
                None if value is None else value / max(count, 1)
                for value, count in zip(getattr(columns, name), counts, strict=False)
            ]
            _check_values(f"{what}, {name}", means, largest * (1 + 1e-9))

    def _check_assessments(self, found: federation.ForwardedAssessments) -> None:
        begin_s = datetime.fromisoformat(f"{found.month}-01").replace(tzinfo=UTC).timestamp()
        self._check_s(f"assessments of {found.month}", [begin_s])
        for one in found.assessments:
            what = f"the assessment {one.kind!r} of {one.subject!r}"
            times_s = [one.assessment.get(name) for name in ("data_from_s", "data_to_s")]
            self._check_s(what, times_s)
            _check_values(what, [one.assessment.get("value")])
            _check_depth(what, one.assessment)

    def _check_anomaly(self, one: ForwardedAnomaly) -> None:
        what = f"anomaly {one.anomaly_id} of {one.subject[:80]!r}"
        self._check_us(what, [one.start_us, one.peak_us, one.end_us])
        _check_values(what, [one.score])
        _check_depth(what, one.evidence)

    def _check_incident(self, one: ForwardedIncident) -> None:
        what = f"incident {one.incident_id}"
        if one.incident_id in {one.parent_id, one.merged_into}:
            raise _OutOfBoundsError("value", f"{what} is below itself, or merged into itself")
        past_s = [one.opened_s, *(one.incident.get(name) for name in PAST_FIELDS)]
        self._check_s(what, past_s)
        planned_s = [one.incident.get(name) for name in PLANNED_FIELDS]
        self._check_s(what, planned_s)
        _check_depth(what, one.incident)
        for entry in one.entries:
            self._check_s(f"the history of {what}", [entry.at_s])
            _check_depth(f"the history of {what}", entry.detail)

    def _check_us(self, what: str, times_us: Iterable[int | None]) -> None:
        self._check_s(what, [None if one is None else one / 1e6 for one in times_us])

    def _check_s(self, what: str, times_s: Sequence[Any]) -> None:
        """Raise where a time is out of bounds; what is no number is left to the conversion of its field."""
        for one in (one for one in times_s if isinstance(one, int | float)):
            if not EARLIEST_S <= one <= self._now_s + MAX_AHEAD_S:
                raise _OutOfBoundsError(
                    "time",
                    f"{what} have a time [Unix s] of {one:.10g}, before 1978 or more than ten years from now:"
                    " correct it in the town, or purge this message",
                )


def _check_values(what: str, values: Sequence[Any], largest: float = LARGEST_USABLE_VALUE) -> None:
    numbers = [abs(one) for one in values if isinstance(one, int | float)]
    if numbers and not max(numbers) <= largest:
        raise _OutOfBoundsError(
            "value",
            f"{what}: a value is beyond {largest:.2g}, which no sensor has: correct it there",
        )


def _check_depth(what: str, value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [part for one in level for part in _parts(one)]
        if not level:
            return
    raise _OutOfBoundsError("value", f"{what}: an object is nested more than {MAX_DEPTH} levels deep")


def _parts(value: Any) -> Iterable[Any]:
    """Return what is in an object or array."""
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
