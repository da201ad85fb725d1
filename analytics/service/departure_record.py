"""Reads the departures of a suspected sensor and of those near it on its network, for the verdict on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.core.flags import Flag
from analytics.service import state_inputs
from analytics.service.estimated_state import MAX_NODES, NETWORK_OF_DOMAIN
from edge.wire.quantities import QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from analytics.twin.state_estimation import SensorRecord, StateModel
    from ingest_service.storage.contract.models import Directory, Link, Series
    from ingest_service.storage.contract.store import Reader

MAX_READINGS = 20_000  # of a sensor; three days at one every 13 s
MAX_DEPARTURE = 6.0  # [spreads]: how much of a change arrives is too uncertain for what lies beyond to count


class SensorNeighbourhood(NamedTuple):
    """A sensor and those with which it can be compared.

    Attributes
    ----------
    network : river or road
    model : correlations of the network
    nodes : (m,) node of each sensor
    series : m, the suspected one first, then the nearest
    links : of the network
    at : number of each node by id

    """

    network: str
    model: StateModel
    nodes: NDArray[np.intp]
    series: list[Series]
    links: list[Link]
    at: dict[str, int]


def find_neighbourhood(directory: Directory, suspect: Series) -> SensorNeighbourhood | None:
    """Return a sensor with those near it; None where its quantity or site is on no network, or on a huge one.

    Parameters
    ----------
    directory : with the networks as they were at the time

    """
    from analytics.twin.sensor_verdict import nearest_sensors  # noqa: PLC0415 - scipy: 25 MB

    network = NETWORK_OF_DOMAIN.get(QUANTITIES[suspect.quantity].domain)
    nodes = [one for one in directory.nodes if one.network == network]
    links = [one for one in directory.links if one.network == network]
    at = {node.node_id: number for number, node in enumerate(nodes)}
    node_of_site = {node.site_id: at[node.node_id] for node in nodes if node.site_id}
    if network is None or suspect.site_id not in node_of_site or len(nodes) > MAX_NODES:
        return None
    others = [
        one
        for one in directory.series
        if one.quantity == suspect.quantity and one.site_id != suspect.site_id and one.site_id in node_of_site
    ]
    model = state_inputs.state_model(len(nodes), links, at, network)
    of_sensors = np.array([node_of_site[one.site_id] for one in others], np.intp)
    near = nearest_sensors(model.field, node_of_site[suspect.site_id], of_sensors)
    series = [suspect, *(others[number] for number in near)]
    of_series = np.array([node_of_site[one.site_id] for one in series], np.intp)
    return SensorNeighbourhood(network, model, of_series, series, links, at)


def read_departures(
    reader: Reader, found: SensorNeighbourhood, from_s: float, to_s: float, reach_s: float
) -> SensorRecord:
    """Return the mean departure of each sensor in each tick of a time range.

    Of the suspected sensor all readings with a value are used, of the others those that did not fail: a
    reading that is suspect because it departs is what an event consists of.

    Parameters
    ----------
    from_s, to_s : of the suspected sensor's departure [Unix s]
    reach_s : before and after it, in which the others are read [s]

    Raises
    ------
    StoreUnavailableError

    """
    from analytics.twin.state_estimation import SensorRecord  # noqa: PLC0415 - scipy: 25 MB

    defaults = state_inputs.DEFAULTS[found.network]
    first, last = (int(one // defaults.tick_s) for one in (from_s - reach_s, to_s + reach_s))
    departure = np.full((last - first + 1, len(found.series)), np.nan)
    for column, one in enumerate(found.series):
        rows = reader.readings(
            one.series_id, first * defaults.tick_s, (last + 1) * defaults.tick_s, limit=MAX_READINGS
        )
        worst = Flag.FAIL if column == 0 else Flag.SUSPECT
        used = rows[(rows["quality"] <= worst) & (rows["spread"] > 0)]
        values = (used["value"] - used["expected"]) / used["spread"]
        _add_means(
            departure[:, column], (used["time_us"] / 1e6 // defaults.tick_s).astype(int) - first, values
        )
    noise = np.full(len(found.series), defaults.noise)
    time_s = (np.arange(first, last + 1, dtype=np.float64) + 0.5) * defaults.tick_s
    bounded: NDArray[np.float64] = np.clip(departure, -MAX_DEPARTURE, MAX_DEPARTURE)
    return SensorRecord(found.nodes, time_s, bounded, noise)


def _add_means(means: NDArray[np.float64], tick: NDArray[np.intp], values: NDArray[np.float64]) -> None:
    """Put the mean of the finite values of each tick into an array, in place."""
    finite = np.isfinite(values)
    count = np.bincount(tick[finite], minlength=len(means))
    total = np.bincount(tick[finite], weights=values[finite], minlength=len(means))
    np.divide(total, count, out=means, where=count > 0)


def newest_s(reader: Reader, series: Sequence[Series]) -> float:
    """Return when the newest reading of some sensors was measured [Unix s]; 0 without any."""
    return max((one.time_s for one in reader.latest([each.series_id for each in series])), default=0.0)
