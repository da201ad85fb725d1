"""Reads rollups, the health of devices and assessments of a town as messages for its county."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from edge.wire import federation
from ingest_service.storage.contract.area_tree import areas_below
from ingest_service.storage.contract.federation import DueRange
from ingest_service.storage.postgres.assessments import AssessmentQuery, Assessments
from ingest_service.storage.postgres.federation_rollups import FederationRollups

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ingest_service.federation.policy import Policy
    from ingest_service.storage.contract.models import Directory, Series
    from ingest_service.storage.contract.store import Database
    from ingest_service.storage.postgres.federation_rollups import ReadyRange

STATE_S: Final = 30.0
"""How often changed states of devices and assessments are looked for [s]."""
MONTHS: Final = 24
ROLLUPS_PER_MESSAGE: Final = 500
DEVICES_PER_MESSAGE: Final = 500
RANGES_PER_BLOCK: Final = 2000
QUARTER_US: Final = 900_000_000
COLUMNS: Final = federation.RollupColumns.__struct_fields__[2:]
COMPARED_ABOVE: Final = "index"
"""Kind of assessments that compares areas: the county makes its own."""
NAMED_FIELDS: Final = frozenset(
    {"assessment_id", "kind", "subject", "area_id", "site_id", "link_id", "computed_s"}
)


class RollupBlock(NamedTuple):
    """Columns by message, and what the county has when it has confirmed them."""

    messages: list[list[federation.RollupColumns]]
    done: list[int]
    shortened: list[DueRange]
    rows: int


class StateMessages:
    """Reads states. Methods raise the errors of the store.

    What was sent is known from this process alone: a new one sends all states again.
    """

    def __init__(self, store: Database, policy: Policy) -> None:
        self._store, self._policy = store, policy
        self._rollups, self._assessments = FederationRollups(store), Assessments(store)
        self._sent_devices: dict[str, federation.ForwardedDeviceHealth] = {}
        self._sent_months: dict[str, str] = {}
        self._devices_due_s = self._months_due_s = 0.0

    def rollups(self, series: Mapping[int, Series], limit: int) -> RollupBlock | None:
        """Return the rollups of some series that are new or changed; None if there are none."""
        if not series:
            return None
        ready = self._rollups.ready(series, RANGES_PER_BLOCK)
        if not ready:
            return None
        ranges = [DueRange(one.due_id, one.series_id, one.since_us, one.ready_us) for one in ready]
        rows = self._rollups.rollups(ranges, limit)
        done, shortened = _rest(ready, rows[-1][:2] if len(rows) == limit else None)
        messages = [
            _columns(rows[first : first + ROLLUPS_PER_MESSAGE], series)
            for first in range(0, len(rows), ROLLUPS_PER_MESSAGE)
        ]
        return RollupBlock(messages, done, shortened, len(rows))

    def devices(self, directory: Directory) -> list[list[federation.ForwardedDeviceHealth]]:
        """Return the devices in the policy's area whose health has changed, by message."""
        if not self._policy.device_health or time.monotonic() < self._devices_due_s:
            return []
        self._devices_due_s = time.monotonic() + STATE_S
        areas = areas_below(directory.areas, self._policy.area)
        own = {one.device_id for one in directory.devices if one.area_id in areas}
        changed = [
            one
            for one in map(_device_health, (one for one in self._store.statuses() if one.device_id in own))
            if self._sent_devices.get(one.device_id) != one
        ]
        return [
            changed[first : first + DEVICES_PER_MESSAGE]
            for first in range(0, len(changed), DEVICES_PER_MESSAGE)
        ]

    def devices_confirmed(self, devices: Collection[federation.ForwardedDeviceHealth]) -> None:
        """Note that the county has the health of some devices."""
        self._sent_devices |= {one.device_id: one for one in devices}

    def next_month(
        self, directory: Directory
    ) -> tuple[str, str, list[federation.ForwardedAssessment]] | None:
        """Return a month with changed assessments, and a text that names its state; None without one."""
        if not self._policy.assessments or time.monotonic() < self._months_due_s:
            return None
        for month, state in self._rollups.months(MONTHS):
            if self._sent_months.get(month) != state:
                return month, state, self._of_month(month, directory)
        self._months_due_s = time.monotonic() + STATE_S
        return None

    def month_confirmed(self, month: str, state: str) -> None:
        """Note that the county has the assessments of a month."""
        self._sent_months[month] = state

    def _of_month(self, month: str, directory: Directory) -> list[federation.ForwardedAssessment]:
        areas = areas_below(directory.areas, self._policy.area)
        sites = {one.site_id for one in self._policy.sites(directory)}
        query = AssessmentQuery(area_ids=sorted(areas), from_month=month, to_month=month, limit=None)
        found = []
        for one in self._assessments.found(query):
            if one.kind == COMPARED_ABOVE or not (one.subject.startswith("area/") or one.site_id in sites):
                continue
            fields = msgspec.to_builtins(one)
            rest = {name: value for name, value in fields.items() if name not in NAMED_FIELDS}
            found.append(
                federation.ForwardedAssessment(
                    kind=one.kind,
                    subject=one.subject,
                    area_id=one.area_id,
                    site_id=one.site_id,
                    assessment=rest,
                )
            )
        return found


def _device_health(one: Any) -> federation.ForwardedDeviceHealth:
    return federation.ForwardedDeviceHealth(
        device_id=one.device_id,
        received_us=round(one.received_s * 1e6),
        status=one.status,
        clock_offset_s=one.clock_offset_s,
    )


def _columns(rows: Sequence[tuple[Any, ...]], series: Mapping[int, Series]) -> list[federation.RollupColumns]:
    by_series: dict[int, list[tuple[Any, ...]]] = {}
    for row in rows:
        by_series.setdefault(row[0], []).append(row[1:])
    return [
        federation.RollupColumns(
            site_id=series[series_id].site_id,
            quantity=series[series_id].quantity,
            **dict(zip(COLUMNS, map(list, zip(*some, strict=True)), strict=True)),
        )
        for series_id, some in by_series.items()
    ]


def _rest(ready: Sequence[ReadyRange], last: tuple[Any, ...] | None) -> tuple[list[int], list[DueRange]]:
    """Return the ids of the ranges that are covered, and what is left of the others.

    Parameters
    ----------
    ready : ranges of which quarters were read
    last : series and begin of the last quarter, if reading ended at its limit; None if all was read

    """
    done, shortened = [], []
    for one in ready:
        sent_us = one.ready_us
        if last is not None and (one.series_id, one.ready_us) > (last[0], last[1] + QUARTER_US):
            if one.series_id != last[0] or last[1] < one.since_us:
                continue
            sent_us = last[1] + QUARTER_US
        if sent_us >= one.until_us:
            done.append(one.due_id)
        else:
            shortened.append(DueRange(one.due_id, one.series_id, sent_us, one.until_us))
    return done, shortened
