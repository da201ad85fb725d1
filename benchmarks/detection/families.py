"""Lists the families of labelled series; constants chosen on some of them must hold on the others."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from benchmarks.detection import injection, other_recordings, rivers, simulated
from benchmarks.detection.labelled import Family, LabelledSeries

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CLEAN", "NAMES", "WATER", "Family", "LabelledSeries", "by_site", "load"]

CLEAN = "clean"  # stretches of the rivers without labels: every alarm is false
OBSERVATORY = "Logan River Observatory"
NAB_CATEGORIES = (
    "artificialNoAnomaly",
    "artificialWithAnomaly",
    "realAWSCloudwatch",
    "realAdExchange",
    "realKnownCause",
    "realTraffic",
    "realTweets",
)


def _rivers() -> list[LabelledSeries]:
    return [one for name in ("logan", "blacksmith", "oddwater") for one in load(name).series]


LOADERS: dict[str, Callable[[], Family]] = {
    "logan": lambda: Family("logan", rivers.logan(), True, OBSERVATORY),
    "blacksmith": lambda: Family("blacksmith", rivers.blacksmith(), True, OBSERVATORY),
    "oddwater": lambda: Family("oddwater", rivers.oddwater(), True),
    "waterflow": lambda: Family("waterflow", rivers.waterflow(), True),
    "gecco": lambda: Family("gecco", other_recordings.gecco(), True, labels_of_sites=True),
    "skab": lambda: Family("skab", other_recordings.skab(), False, labels_of_sites=True),
    "injected": lambda: Family("injected", injection.injected_stretches(_rivers()), True),
    CLEAN: lambda: Family(CLEAN, injection.clean_stretches(_rivers()), False),
    "simulated": lambda: Family("simulated", simulated.simulated(), True),
    "metrla": lambda: Family("metrla", other_recordings.metrla(), False),
} | {
    f"nab/{category}": lambda category=category: Family(
        f"nab/{category}", other_recordings.nab_category(category), False, "NAB"
    )
    for category in NAB_CATEGORIES
}
NAMES = tuple(LOADERS)
WATER = ("logan", "blacksmith", "oddwater", "waterflow", "gecco", "injected", "simulated")


@cache
def load(name: str) -> Family:
    """Return a family by its name, one of `NAMES`."""
    return LOADERS[name]()


def by_site(family: Family) -> list[Family]:
    """Return a family for each site of a family."""
    sites = dict.fromkeys(one.site for one in family.series)
    return [
        family._replace(
            name=f"{family.name}/{site}", series=[one for one in family.series if one.site == site]
        )
        for site in sites
    ]
