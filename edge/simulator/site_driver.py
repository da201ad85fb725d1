"""Driver of one simulated site for a site file, to try an agent without instruments."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from edge.drivers.driver_options import DriverOptionsError, convert_options
from edge.simulator.town import Town, TownDriver
from edge.simulator.town_spec import SimulatedLink, SimulatedSite, TownSpec, TownSpecError

if TYPE_CHECKING:
    from pathlib import Path

SITE = "site"
RIVER = (
    SimulatedLink(from_node="source", to_node=SITE, length_m=5000.0, speed_m_s=0.3),
    SimulatedLink(from_node=SITE, to_node="mouth", length_m=30_000.0, speed_m_s=0.3),
)
ROAD = (SimulatedLink(from_node=SITE, to_node="end", length_m=500.0, speed_m_s=15.0, lanes=2),)


class SimulatorOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options in a site file.

    Attributes
    ----------
    quantities : names of quantities, which also are the channels
    site : kind of site
    interval_s : between two readings of a channel [s]
    seed : the same seed gives the same readings at the same time

    """

    quantities: tuple[str, ...]
    site: Literal["river_section", "rain_gauge", "road_section"] = "river_section"
    interval_s: float = 60.0
    seed: int = 1

    def __post_init__(self) -> None:
        """Check what the types do not."""
        if not self.quantities:
            raise ValueError("give at least one quantity")
        if self.interval_s <= 0:
            raise ValueError("interval_s must be positive")


def create(options: dict[str, Any], _folder: Path) -> TownDriver:
    """Create the driver from the options of `SimulatorOptions`; readings begin now.

    Raises
    ------
    DriverOptionsError
        If an option is invalid.

    """
    chosen = convert_options(options, SimulatorOptions, driver="simulator")
    simulated_site = SimulatedSite(
        device_id=SITE,
        site_id=SITE,
        kind=chosen.site,
        quantities=chosen.quantities,
        node_id=SITE,
        interval_s=chosen.interval_s,
    )
    spec = TownSpec(
        simulated_sites=(simulated_site,),
        river=RIVER,
        road=ROAD,
        node_kinds={"source": "source", "mouth": "mouth"},
    )
    now_s = time.time()
    try:
        return Town(spec, seed=chosen.seed, live_from_s=now_s, history_s=0.0).driver(SITE)
    except TownSpecError as error:
        raise DriverOptionsError(f"options of driver 'simulator': {error}") from error
