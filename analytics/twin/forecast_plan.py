"""Describes how series of one kind are forecast: horizons, lags, loss, and candidates for validation."""

from __future__ import annotations

from typing import Literal, NamedTuple

from analytics.errors import AnalyticsError

Loss = Literal["squared", "absolute"]
Anchor = Literal["persistence", "yesterday"]

DAY_S = 86_400
MIN_BLOCKS = 4  # means of fewer blocks have no useful standard error


class ForecastError(AnalyticsError):
    """A forecast can't be fitted or made: the record is too short, or the plan contradicts itself."""


class ForecastPlan(NamedTuple):
    """How series of one kind are forecast; times are in ticks of the grid.

    Attributes
    ----------
    day_ticks : ticks of a day
    horizons : ticks ahead, ascending from 1 or more to a day at most
    own_lags : ticks back of own values, ascending from 0
    neighbour_lags : ticks back of neighbours' values, ascending from 0
    loss : what the weights minimise, and what is compared on the validation part
    anchors, penalties : candidates that validation weighs, see `forecast`
    validation_ticks : length of the validation part at the end of the training record
    share : of future values that a band should hold
    uses_level : whether newest values are features, beside changes from lag to lag
    profile_ticks : the usual day is averaged over so many ticks to either side

    """

    day_ticks: int
    horizons: tuple[int, ...]
    own_lags: tuple[int, ...]
    neighbour_lags: tuple[int, ...] = (0, 1, 2)
    loss: Loss = "absolute"
    anchors: tuple[Anchor, ...] = ("persistence",)
    penalties: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2)
    validation_ticks: int = 288
    share: float = 0.8
    uses_level: bool = True
    profile_ticks: int = 3

    @property
    def needed_ticks(self) -> int:
        """Ticks of the shortest record that can be fitted and validated."""
        return self.longest_lag + self.horizons[-1] + self.day_ticks + self.validation_ticks

    @property
    def block_ticks(self) -> int:
        """Ticks of a block whose mean gain counts once in the test of skill.

        Longer than the errors of a forecast are correlated, as far as that leaves `MIN_BLOCKS` blocks.
        """
        return max(1, min(2 * self.horizons[-1], self.day_ticks, self.validation_ticks // MIN_BLOCKS))

    @property
    def longest_lag(self) -> int:
        """Ticks of past that a forecast needs; at least a day where an anchor is yesterday's value."""
        lags = (self.own_lags[-1], self.neighbour_lags[-1])
        return max(*lags, self.day_ticks if "yesterday" in self.anchors else 0)

    def check(self, n_ticks: int) -> None:
        """Raise `ForecastError` unless a record of ``n_ticks`` ticks can be fitted and validated."""
        for name, ticks, first in (
            ("horizons", self.horizons, 1),
            ("own_lags", self.own_lags, 0),
            ("neighbour_lags", self.neighbour_lags, 0),
        ):
            if not ticks or ticks[0] < first or list(ticks) != sorted(set(ticks)):
                raise ForecastError(f"{name} {ticks}: give different ticks from {first}, ascending")
        if self.horizons[-1] > self.day_ticks:
            raise ForecastError(f"horizon of {self.horizons[-1]} ticks: a day of {self.day_ticks} at most")
        if not 0 < self.share < 1:
            raise ForecastError(f"share {self.share:g}: a band holds more than nothing and less than all")
        if n_ticks < self.needed_ticks:
            raise ForecastError(
                f"the record has {n_ticks} ticks, and {self.needed_ticks} are needed: a day to fit after the longest lag, "  # noqa: E501
                f"and {self.validation_ticks} to validate"
            )


def traffic_plan(tick_s: int = 300) -> ForecastPlan:
    """Return the plan for speeds, flows and occupancies of road links: each 5 min for an hour."""
    step = max(1, 300 // tick_s)
    return ForecastPlan(
        day_ticks=DAY_S // tick_s,
        horizons=tuple(range(step, 12 * step + 1, step)),
        own_lags=tuple(range(0, 12 * step, step)),
        neighbour_lags=(0, step, 2 * step),
        validation_ticks=DAY_S // tick_s,
        profile_ticks=3 * step,
    )


def water_plan(tick_s: int = 900, *, validation_days: int = 14) -> ForecastPlan:
    """Return the plan for levels and water quality: 1, 2, 3, 6, 12 and 24 h ahead."""
    hour = 3600 // tick_s
    recent = {0, hour // 4, hour // 2, 3 * hour // 4}
    return ForecastPlan(
        day_ticks=DAY_S // tick_s,
        horizons=tuple(hours * hour for hours in (1, 2, 3, 6, 12, 24)),
        own_lags=tuple(sorted(recent | set(range(0, 25 * hour, hour)))),
        neighbour_lags=tuple(
            sorted({0, hour // 2, hour, 3 * hour, 6 * hour, 12 * hour, 18 * hour, 23 * hour})
        ),
        loss="squared",
        anchors=("persistence", "yesterday"),
        penalties=(1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0),
        uses_level=False,
        validation_ticks=validation_days * DAY_S // tick_s,
        profile_ticks=hour,
    )
