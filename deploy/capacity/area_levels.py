"""Tabulates what a town, a county, a prefecture, a province and the nation need."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from deploy.capacity.cost_model import Load, calculate

if TYPE_CHECKING:
    from deploy.capacity.cost_model import MeasuredCosts

GB = 1e9
QUANTITIES = 4
INTERVAL_S = 300.0
TOWN_DEVICES = 40
COUNTY_TOWNS = 10
# Jiaxing's own count of parks, compounds, and rivers and lakes, each with one device.
PREFECTURE_DEVICES = 81 + 1655 + 237
PROVINCE_PREFECTURES = 11  # Zhejiang
NATION_PREFECTURES = 333


class AreaLevel(NamedTuple):
    """A level of areas and the number of its devices."""

    name: str
    devices: int


LEVELS = (
    AreaLevel("town", TOWN_DEVICES),
    AreaLevel("county", TOWN_DEVICES * COUNTY_TOWNS),
    AreaLevel("prefecture", PREFECTURE_DEVICES),
    AreaLevel("province", PREFECTURE_DEVICES * PROVINCE_PREFECTURES),
    AreaLevel("nation", PREFECTURE_DEVICES * NATION_PREFECTURES),
)


def markdown_table(costs: MeasuredCosts) -> str:
    """Return a Markdown table of what each level needs."""
    lines = [
        (
            "| level | devices | readings/s | cores: ingest | database | broker | shards | disk a year |"
            " next limit |"
        ),
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for level in LEVELS:
        load = Load(level.devices, QUANTITIES, INTERVAL_S, QUANTITIES)
        needed = calculate(costs, load)
        limit = needed.limits[0]
        passed = ", passed" if limit.devices < level.devices else ""
        cores = " | ".join(f"{needed.cores[name]:.3f}" for name in ("ingest", "database", "broker"))
        lines.append(
            f"| {level.name} | {level.devices:,} | {load.readings_per_s:,.1f} | {cores} | {needed.shards}"
            f" | {needed.disk_bytes_per_year / GB:,.1f} GB | {limit.resource}, {limit.devices:,}{passed} |"
        )
    return "\n".join(lines)
