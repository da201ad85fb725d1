"""Reads a town's newest forecasts of its series as messages for its county (decision 0119)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from edge.wire import federation
from ingest_service.storage.postgres.series_forecasts import SeriesForecasts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest_service.federation.policy import Policy
    from ingest_service.storage.contract.models import Directory
    from ingest_service.storage.contract.store import Database

log = structlog.get_logger()

LOOK_EVERY_S: Final = 30.0


class ForecastBlock(NamedTuple):
    """Forecasts by message; one without times replaces what the town has no more."""

    messages: list[list[federation.ForwardedForecast]]


class ForecastMessages:
    """Reads forecasts that changed. Methods raise the errors of the store.

    What was sent is known from this process alone: a new one sends all forecasts again. What it does not send
    ends by itself, at the end of the forecast.
    """

    def __init__(self, store: Database, policy: Policy) -> None:
        self._forecasts, self._policy = SeriesForecasts(store), policy
        self._sent: dict[tuple[str, str], federation.ForwardedForecast] = {}
        self._due_s = 0.0

    def next_block(self, directory: Directory) -> ForecastBlock | None:
        """Return the forecasts that the county lacks; None without any."""
        if not self._policy.forecasts or time.monotonic() < self._due_s:
            return None
        self._due_s = time.monotonic() + LOOK_EVERY_S
        present = self._permitted(directory)
        changed = [one for name, one in present.items() if self._sent.get(name) != one]
        changed += [
            federation.ForwardedForecast(site_id=site_id, quantity=quantity, issued_us=one.issued_us)
            for (site_id, quantity), one in self._sent.items()
            if (site_id, quantity) not in present and one.times_us
        ]
        size = federation.MAX_FORECASTS
        messages = [changed[first : first + size] for first in range(0, len(changed), size)]
        return ForecastBlock(messages) if messages else None

    def confirmed(self, block: ForecastBlock) -> None:
        """Note that the county has the forecasts of a block."""
        self._sent |= {(one.site_id, one.quantity): one for some in block.messages for one in some}

    def give_up(self) -> None:
        """Send no more until the next start: the county's release does not understand forecasts."""
        self._due_s = float("inf")
        log.warning("forecasts_not_understood", remedy="update the county, then restart this process")

    def _permitted(self, directory: Directory) -> Mapping[tuple[str, str], federation.ForwardedForecast]:
        """Return the forecasts of the series of which the county has readings or rollups."""
        forms = self._policy.forms(directory)
        series = {
            one.series_id: one for one in self._policy.series(directory) if forms[one.series_id] != "none"
        }
        return {
            (one.site_id, one.quantity): federation.ForwardedForecast(
                site_id=one.site_id, quantity=one.quantity, **columns
            )
            for series_id, columns in self._forecasts.to_forward(series).items()
            for one in [series[series_id]]
        }
