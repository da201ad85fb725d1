"""Builds upload segments of HJ 212 from readings and means of a site."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from edge.wire.errors import UnitError
from edge.wire.quantities import QUANTITIES, to_canonical
from gateway.hj212.segment import ANSWER_WANTED, HAS_PACKET_NUMBERS, VERSION_2017, Segment
from gateway.hj212.stations import factors, time_zone_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.hj212.forward.settings import ReportedStation, UpperPlatform
    from ingest_service.storage.contract.models import Bucket, Series

MAX_CONTENT = 950  # HJ 212-2017 table 3
VERSION_2025 = 8
GOOD_SHARE = 0.75  # of a period's readings, from which its mean counts as normal
FAIL = 4


class ReportedFactor(NamedTuple):
    """A series that is reported: factor code, and conversion of canonical values to the factor's unit."""

    series_id: int
    code: str
    scale: float
    offset: float

    def text(self, value: float) -> str:
        """Return a canonical value in the factor's unit."""
        return f"{(value - self.offset) / self.scale:.10g}"


def reported_factors(station: ReportedStation, series: Iterable[Series]) -> list[ReportedFactor]:
    """Return the factors of a station: the series of its site whose quantity has a factor code."""
    found = []
    for one in series:
        quantity = QUANTITIES.get(one.quantity)
        if one.site_id != station.site or quantity is None:
            continue
        code = station.factors.get(one.quantity, quantity.hj212 or "")
        if not code:
            continue
        factor = factors().get(code)
        try:
            conversion = to_canonical(quantity, factor.unit if factor else quantity.unit)
        except UnitError:
            conversion = to_canonical(quantity, quantity.unit)
        found.append(ReportedFactor(one.series_id, code, conversion.scale, conversion.offset))
    return found


def real_time_item(factor: ReportedFactor, value: float, quality: int, *, in_maintenance: bool) -> str:
    """Return a value as an item of 2011: flag M in maintenance, D if it failed the platform's checks."""
    flag = "N" if quality != FAIL else "M" if in_maintenance else "D"
    return f"{factor.code}-Rtd={factor.text(value)},{factor.code}-Flag={flag}"


def mean_item(factor: ReportedFactor, bucket: Bucket) -> str | None:
    """Return a mean as an item of 2051, 2061 or 2031; None if no reading of the period is good."""
    if bucket.mean is None or bucket.min is None or bucket.max is None:
        return None
    flag = "N" if bucket.good >= GOOD_SHARE * bucket.count else "D"
    named = (("Min", bucket.min), ("Avg", bucket.mean), ("Max", bucket.max))
    values = ",".join(f"{factor.code}-{name}={factor.text(value)}" for name, value in named)
    return f"{values},{factor.code}-Flag={flag}"


def upload_segments(
    platform: UpperPlatform, station: ReportedStation, command: str, time_s: float, items: Sequence[str]
) -> list[Segment]:
    """Return the segments of one upload, without request numbers; a long one is split and numbered."""
    local = datetime.fromtimestamp(time_s, UTC).astimezone(time_zone_of(platform.utc_offset))
    start = f"DataTime={local:%Y%m%d%H%M%S}"
    contents: list[str] = []
    for item in items:
        if contents and len(contents[-1]) + 1 + len(item) <= MAX_CONTENT:
            contents[-1] += f";{item}"
        else:
            contents.append(f"{start};{item}")
    version = VERSION_2025 if platform.edition == 2025 else VERSION_2017
    is_split = len(contents) > 1
    return [
        Segment(
            system=station.system,
            command=command,
            password=station.password,
            station=station.station,
            flag=version | ANSWER_WANTED | (HAS_PACKET_NUMBERS if is_split else 0),
            packets=len(contents) if is_split else None,
            packet=number if is_split else None,
            content=content,
        )
        for number, content in enumerate(contents, 1)
    ]
