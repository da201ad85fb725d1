"""Numbers by which anomalies become incidents and alarms sound; all of them are choices."""

from __future__ import annotations

from typing import Final

import msgspec

MINUTE_S: Final = 60.0
HOUR_S: Final = 3600.0


class GroupingRules(msgspec.Struct, frozen=True, kw_only=True):
    """Rules of grouping and annunciation. Times in [s], distances in [m].

    Attributes
    ----------
    rejoin_s : an anomaly joins an incident with one of its series (device) that ended so long ago at most
    same_site_s : anomalies of a site belong together if they start within this time of each other
    same_sensor_s : likewise, if one is of a sensor fault, which does not spread
    travel_uncertainty : relative uncertainty of travel times, as in `analytics.twin.upstream_trace`
    travel_slack_s : added to both ends of a range of travel times, for the delay of detection
    road_hops, road_s : links between road sites, and time between starts, within which queues are one
    silence_s : devices of an area that fall silent within this time do so together
    silent_devices : from this number on, a common cause (power, network) is assumed
    after_outage_s : anomalies of a site that start until so long after its silence are explained by it
    storm_m, storm_s : distance and time within which rain is one event
    min_duration_s : by severity: a shorter anomaly that is over opens no incident (on-delay of ISA-18.2)
    off_delay_s : by priority: an incident returns to normal after so long without an open anomaly (off-delay)
    chatter_starts, chatter_s : so many anomalies of a series within the time are chattering
    chatter_quiet_s : a chattering incident returns to normal after so long without an anomaly
    flood_limits : by priority: annunciations in 10 min and operator from which on further ones wait
    operators : people on duty at a time
    keep_s : an incident that is over can be joined for so long after its last change (measured)
    expire_s : by priority: an incident that nobody filed is closed so long after it returned to normal;
        priorities that are missing never expire

    """

    rejoin_s: float = 6 * HOUR_S
    same_site_s: float = HOUR_S
    same_sensor_s: float = 15 * MINUTE_S
    travel_uncertainty: float = 0.3
    travel_slack_s: float = 30 * MINUTE_S
    road_hops: int = 3
    road_s: float = 30 * MINUTE_S
    silence_s: float = 20 * MINUTE_S
    silent_devices: int = 3
    after_outage_s: float = 30 * MINUTE_S
    storm_m: float = 40_000.0
    storm_s: float = 3 * HOUR_S
    min_duration_s: tuple[float, float, float] = (MINUTE_S, 0.0, 0.0)
    off_delay_s: tuple[float, float, float, float] = (
        15 * MINUTE_S,
        15 * MINUTE_S,
        30 * MINUTE_S,
        30 * MINUTE_S,
    )
    chatter_starts: int = 3
    chatter_s: float = HOUR_S
    chatter_quiet_s: float = 2 * HOUR_S
    flood_limits: tuple[int, int, int, int] = (10, 8, 5, 3)
    operators: int = 2
    keep_s: float = 24 * HOUR_S
    expire_s: dict[int, float] = msgspec.field(default_factory=lambda: {3: 24 * HOUR_S, 4: 12 * HOUR_S})
