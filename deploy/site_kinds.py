"""The kinds of sites and of network nodes that a site file may have."""

from __future__ import annotations

SITE_KINDS = (
    "river_section",
    "lake_section",
    "outfall",
    "rain_gauge",
    "tide_gauge",
    "junction",
    "road_section",
)
NODE_KINDS = {
    "river": ("source", "confluence", "section", "outfall", "mouth", "lake"),
    "road": ("junction", "detector", "end"),
}
