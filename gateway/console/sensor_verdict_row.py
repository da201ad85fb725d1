"""Lays out for the pages of anomalies and incidents whether a sensor measured an event or is faulty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.api.directory_cache import DirectoryIndex
    from gateway.api.models.resource_models import SensorVerdictResponse
    from gateway.console.visitor import Visitor


def sensor_verdict_row(
    one: SensorVerdictResponse | None, visitor: Visitor, index: DirectoryIndex
) -> dict[str, Any] | None:
    """Return what the template of a verdict shows; None without one."""
    if one is None:
        return None
    series = index.series.get(one.series_id)
    site = None if series is None else index.sites.get(series.site_id)
    return {
        "name": visitor.text(f"verdict_{one.verdict}"),
        "kind": one.verdict,
        "sentence": one.zh if visitor.language == "zh" else one.en,
        "event": f"{one.event_probability:.0%}",
        "fault": f"{1 - one.event_probability:.0%}",
        "quantity": "" if series is None else series.quantity,
        "site": "" if site is None else visitor.site_name(site, site.site_id),
        "others": [(site_id, visitor.site_name(index.sites[site_id], site_id)) for site_id in one.site_ids],
        "computed_s": one.computed.timestamp(),
        "is_final": one.final,
    }
