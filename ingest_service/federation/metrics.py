"""Defines the Prometheus metrics of federation."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

CONFIRMED = Counter(
    "towntwin_federation_confirmed_total", "Rows that the county has confirmed, by kind", ["kind"]
)
WAITING = Gauge("towntwin_federation_waiting_ranges", "Ranges of series with changes that the county lacks")
WAITING_AGE = Gauge("towntwin_federation_waiting_seconds", "Age of the oldest change that the county lacks")
REFUSED = Counter(
    "towntwin_federation_refused_total", "Messages that the county refused, by reason", ["reason"]
)
RECEIVED = Counter(
    "towntwin_federation_received_total", "Messages of towns that were stored, by kind", ["kind"]
)
COMMANDS = Counter(
    "towntwin_federation_commands_total",
    "Commands of the platform above, by what became of them",
    ["outcome"],
)
READINGS = Counter(
    "towntwin_federation_readings_total", "Readings of towns, by what became of them", ["outcome"]
)
DEAD_LETTERS = Counter(
    "towntwin_federation_dead_letters_total",
    "Messages of towns that became dead letters, by reason",
    ["reason"],
)
