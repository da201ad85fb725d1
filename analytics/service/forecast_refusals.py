"""Reasons for which a series has no forecast, each as a code and as a sentence in English and in Chinese."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

RefusalCode = Literal["no_readings", "too_little_history", "too_rare", "not_forecast", "stale", "no_skill"]
REFUSAL_CODES: tuple[RefusalCode, ...] = get_args(RefusalCode)


class ForecastRefusal(msgspec.Struct, frozen=True):
    """Why a series has no forecast, and what would change that."""

    code: RefusalCode
    en: str
    zh: str


NO_READINGS = ForecastRefusal(
    "no_readings",
    "This series has no good reading in the time from which a forecast would be made.",
    "该序列在预报所用的时段内没有合格读数。",
)
NOT_FORECAST = ForecastRefusal(
    "not_forecast",
    "Rain is not forecast: the readings of a rain gauge show next to nothing of the rain to come.",
    "不对降雨量作预报：雨量计的读数几乎不能反映未来的降雨。",
)
NO_SKILL = ForecastRefusal(
    "no_skill",
    "In the last days a forecast would not have been reliably better than the newest value, the value at the"
    " same hour of the day before, or the usual course of the day. Until it is, no values are shown.",
    "近几日的检验表明，预报并不明显优于最新值、前一日同时刻值或日常变化规律，因此不给出预报值。",
)


def too_little_history(days: float, needed_days: float) -> ForecastRefusal:
    """Return the refusal of a series whose good readings cover too few days."""
    return ForecastRefusal(
        "too_little_history",
        f"This series has good readings of {days:.1f} days; a forecast needs {needed_days:.1f} days"
        " without long gaps.",
        f"该序列仅有{days:.1f}天的合格读数；预报需要{needed_days:.1f}天且无长时间缺测的读数。",
    )


def too_rare(interval_s: float, longest_s: float) -> ForecastRefusal:
    """Return the refusal of a series whose readings are too far apart [s]."""
    return ForecastRefusal(
        "too_rare",
        f"This series has a reading every {interval_s / 60:,.0f} min; a forecast needs one at least every"
        f" {longest_s / 60:,.0f} min.",
        f"该序列每{interval_s / 60:,.0f}分钟才有一个读数；"
        f"预报要求至少每{longest_s / 60:,.0f}分钟有一个读数。",
    )


def stale(age_s: float, horizon_s: float) -> ForecastRefusal:
    """Return the refusal of a series whose newest good reading is older than the horizon [s]."""
    return ForecastRefusal(
        "stale",
        f"The newest good reading is {age_s / 3600:,.1f} h old; a forecast reaches {horizon_s / 3600:.0f} h"
        " beyond it.",
        f"最新的合格读数距今{age_s / 3600:,.1f}小时；预报只能延伸到其后{horizon_s / 3600:.0f}小时。",
    )
