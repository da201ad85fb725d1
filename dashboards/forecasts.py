"""Panels of a series and its forecast: their time range ends after now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards import styling
from dashboards.panels import time_series_panel, with_unit_axes
from dashboards.translations import Language, translate

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import timeseries

MAX_FORECAST_GAP_MS = 12_600_000  # forecasts of water are 3 h apart; where one between has no skill is a gap


def forecast_panel(
    key: str, quantities: str, language: Language, *, past_h: int, ahead_h: int
) -> timeseries.Panel:
    """Build a time series of one of the selected series, measured and forecast with its band.

    Grafana has no range of a panel that ends after now. It subtracts the shift from both ends of the range,
    and reads one of several terms like its other times: the second term adds.

    Parameters
    ----------
    quantities : SQL of the quantities among whose series one is chosen, comma-separated
    past_h, ahead_h : hours before and after now

    """
    query = {"quantities": quantities, "gap_ms": str(MAX_FORECAST_GAP_MS)}
    panel = with_unit_axes(time_series_panel(key, "forecast_band", language, **query), language)
    panel.time_from(f"{past_h + ahead_h}h").time_shift(f"0h+{ahead_h}h").hide_time_override(True)
    forecast, lower, upper = (translate(one, language) for one in ("forecast", "lower", "upper"))
    joined = styling.override_property("custom.spanNulls", MAX_FORECAST_GAP_MS)
    dashed = styling.override_property("custom.lineStyle", {"fill": "dash", "dash": [6, 6]})
    panel.override_by_regexp(f"/^{forecast} /", [dashed, joined])
    return panel.override_by_regexp(f"/^({lower}|{upper}) /", [joined])
