"""Reads recent readings of one quantity, and correlates the nodes of its network, to estimate the state."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.core.flags import Flag
from analytics.errors import TwinModelError
from analytics.service.network_neighbours import MIN_SPEED_M_S
from analytics.service.network_state import STALE_INTERVALS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from scipy.sparse import csc_array

    from analytics.twin.state_estimation import StateModel
    from ingest_service.storage.contract.models import Link, Series
    from ingest_service.storage.contract.store import Reader

    Floats = NDArray[np.float64]
    Indices = NDArray[np.intp]
    Bools = NDArray[np.bool_]

MAX_BINS = 48
MAX_READINGS = 3_000_000  # of all sensors; a day of 2000 sensors, one a minute
REMEMBERED_S = 3600.0
"""From the begin of the window on, in which the expected value of a silent sensor is taken."""
AT_ITSELF_S = 1e-6  # a reading of the time itself is used; the store's ranges leave their end out


class NetworkDefaults(NamedTuple):
    """How departures are correlated on a kind of network, until they are fitted to the town's own record.

    Attributes
    ----------
    decay : of the correlation to 1/e: travel time of water [s], length of a road [m]
    correlation_time_s : in which the correlation falls to 1/e [s]
    window_s, tick_s : length and resolution of the record [s]
    noise : variance of a reading [spreads²]

    """

    decay: float
    correlation_time_s: float
    window_s: float
    tick_s: float
    noise: float


DEFAULTS = {
    "river": NetworkDefaults(24 * 3600.0, 48 * 3600.0, 24 * 3600.0, 900.0, 0.01),
    "road": NetworkDefaults(2000.0, 1800.0, 3600.0, 300.0, 0.05),
}


class NodeSensors(NamedTuple):
    """Recent readings of m sensors at k times before the time of the state.

    Attributes
    ----------
    node : (m,) node of each sensor
    time_s : (k,) ends of the ticks, ascending [Unix s]
    departure : (k, m) of the last good reading in each tick [spreads]; NaN without any
    newest : (m,) READING row of each sensor, of 1 row, or empty
    is_measured : (m,) whether that row is good, fresh and has an expected value
    expected, spread : (m,) of the judge at that row where it is fresh; NaN otherwise
    earlier, earlier_spread : (m,) of the judge a window's length before, which on a river is the same hour of
        the day before; NaN without any

    """

    node: Indices
    time_s: Floats
    departure: Floats
    newest: list[NDArray[np.void]]
    is_measured: Bools
    expected: Floats
    spread: Floats
    earlier: Floats
    earlier_spread: Floats


def read_sensors(
    reader: Reader,
    series: Sequence[Series],
    node_of_site: Mapping[str, int],
    defaults: NetworkDefaults,
    at_s: float,
) -> NodeSensors:
    """Return the readings of some series until a time, one query each.

    Raises
    ------
    TwinModelError
        If there are more than `MAX_READINGS`.
    StoreUnavailableError
        If the database is away.

    """
    n_ticks, begin_s = int(defaults.window_s / defaults.tick_s), at_s - defaults.window_s
    departure = np.full((n_ticks, len(series)), np.nan)
    newest: list[NDArray[np.void]] = []
    is_measured = np.zeros(len(series), np.bool_)
    expected, spread, earlier, earlier_spread = (np.full(len(series), np.nan) for _ in range(4))
    n_left = MAX_READINGS
    for column, one in enumerate(series):
        rows = reader.readings(one.series_id, begin_s, at_s + AT_ITSELF_S, limit=n_left + 1)
        n_left -= len(rows)
        if n_left < 0:
            raise TwinModelError(
                f"{len(series)} sensors have more than {MAX_READINGS} readings in"
                f" {defaults.window_s / 3600:g} h, more than can be used at once: use a key of fewer areas"
            )
        newest.append(rows[-1:].copy())  # a view would keep the rest
        is_expected = (rows["spread"] > 0) & np.isfinite(rows["expected"])
        is_good = is_expected & (rows["quality"] <= Flag.NOT_EVALUATED) & np.isfinite(rows["value"])
        good = rows[is_good]
        tick = ((good["time_us"] / 1e6 - begin_s) / defaults.tick_s).astype(np.intp)
        departure[np.clip(tick, 0, n_ticks - 1), column] = (good["value"] - good["expected"]) / good["spread"]
        if len(rows) and at_s - rows["time_us"][-1] / 1e6 <= STALE_INTERVALS * one.interval_s:
            is_measured[column] = is_good[-1]
            expected[column], spread[column] = _judged(rows[-1:])
        first = rows[: np.searchsorted(rows["time_us"], 1e6 * (begin_s + REMEMBERED_S))]
        earlier[column], earlier_spread[column] = _judged(first)
    return NodeSensors(
        np.array([node_of_site[one.site_id] for one in series], np.intp),
        at_s - defaults.tick_s * np.arange(n_ticks - 1, -1, -1.0),
        departure,
        newest,
        is_measured,
        expected,
        spread,
        earlier,
        earlier_spread,
    )


def _judged(rows: NDArray[np.void]) -> tuple[float, float]:
    """Return expected value and spread of the first row that has them; NaN without any."""
    found = rows[(rows["spread"] > 0) & np.isfinite(rows["expected"])][:1]
    return (float(found["expected"][0]), float(found["spread"][0])) if len(found) else (np.nan, np.nan)


def state_model(n_nodes: int, links: Sequence[Link], at: Mapping[str, int], network: str) -> StateModel:
    """Return the correlations of a network by the defaults.

    Parameters
    ----------
    links : of the network
    at : number of each node by id, below ``n_nodes``
    network : river or road

    """
    from analytics.twin import correlation_field  # noqa: PLC0415 - scipy, on the first use: 25 MB
    from analytics.twin.state_estimation import StateModel  # noqa: PLC0415 - see above

    defaults = DEFAULTS[network]
    apart = [one for one in links if one.from_node != one.to_node]
    tail = np.array([at[one.from_node] for one in apart], np.intp)
    head = np.array([at[one.to_node] for one in apart], np.intp)
    length_m = np.array([one.length_m for one in apart])
    if network == "road":
        one, other, distance_m = _nearest_pairs(tail, head, length_m)
        weight = correlation_field.weight_of_correlation(np.exp(-distance_m / defaults.decay))
        field = correlation_field.field_of_neighbours(n_nodes, one, other, weight)
        return StateModel(field, np.zeros(n_nodes), defaults.correlation_time_s, defaults.tick_s)
    travel_s = _travel_s(apart)
    shares = correlation_field.shares_of_inflow(head, np.ones(len(head)))
    field = correlation_field.field_along_flow(
        n_nodes, tail, head, np.exp(-travel_s / defaults.decay), shares
    )
    clock_s = correlation_field.travel_to_mouth(n_nodes, tail, head, travel_s)
    bin_s = max(defaults.tick_s, float(clock_s.max()) / (MAX_BINS - 1))
    return StateModel(field, clock_s, defaults.correlation_time_s, bin_s)


def downstream_share(n_nodes: int, links: Sequence[Link], at: Mapping[str, int]) -> csc_array:
    """Return what of a departure at a node (column) arrives at the next nodes of a river (rows), (n, n)."""
    from scipy.sparse import csc_array  # noqa: PLC0415 - see `state_model`

    from analytics.twin import correlation_field  # noqa: PLC0415 - see `state_model`

    apart = [one for one in links if one.from_node != one.to_node]
    tail = np.array([at[one.from_node] for one in apart], np.intp)
    head = np.array([at[one.to_node] for one in apart], np.intp)
    shares = correlation_field.shares_of_inflow(head, np.ones(len(head)))
    arriving = shares * np.exp(-_travel_s(apart) / DEFAULTS["river"].decay)
    return csc_array((arriving, (head, tail)), shape=(n_nodes, n_nodes))


def _travel_s(links: Sequence[Link]) -> Floats:
    length_m, speed_m_s = np.array([(one.length_m, one.speed_m_s) for one in links]).reshape(-1, 2).T
    travel_s: Floats = length_m / np.maximum(speed_m_s, MIN_SPEED_M_S)
    return travel_s


def _nearest_pairs(tail: Indices, head: Indices, length_m: Floats) -> tuple[Indices, Indices, Floats]:
    """Return each pair of neighbours once, with its shortest link: a road has one in each direction."""
    one, other = np.minimum(tail, head), np.maximum(tail, head)
    order = np.lexsort((length_m, other, one))
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = (np.diff(one[order]) != 0) | (np.diff(other[order]) != 0)
    used = order[is_first]
    return one[used], other[used], length_m[used]
