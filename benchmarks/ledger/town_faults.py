"""Defines the faults of the second and third town and of the city, in runs that have them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.ledger.fault_kind import FaultContext, LedgerFault

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.ledger.other_towns import OtherTowns


def _other_towns(context: FaultContext) -> OtherTowns:
    assert context.platform.other_towns is not None
    return context.platform.other_towns


def _kill_in_other_town(kind: str) -> Callable[[FaultContext], None]:
    def cause(context: FaultContext) -> None:
        processes = _other_towns(context).processes
        names = [one for one in processes if one.startswith(kind)]
        processes[context.random_source.choice(names)].kill()

    return cause


def _kill_broker_of_other_town(context: FaultContext) -> None:
    broker = context.random_source.choice(_other_towns(context).brokers)
    broker.kill()
    time.sleep(context.seconds(0.0))
    broker.start()


def _kill_city_broker(context: FaultContext) -> None:
    broker = _other_towns(context).city_broker
    broker.kill()
    time.sleep(context.seconds(0.0))
    broker.start()


OTHER_TOWN_FAULTS = (
    LedgerFault(
        "ingest of another town killed",
        "SIGKILL of the ingest of the second or third town",
        _kill_in_other_town("ingest of"),
        needs="other_towns",
    ),
    LedgerFault(
        "another town's broker killed",
        "SIGKILL of the Mosquitto of the second or third town",
        _kill_broker_of_other_town,
        needs="other_towns",
    ),
    LedgerFault(
        "another forwarder killed",
        "SIGKILL of the forwarder of the second or third town, or of the county",
        _kill_in_other_town("forwarder of"),
        needs="other_towns",
    ),
    LedgerFault(
        "city's receiver killed",
        "SIGKILL of the receiver of the city",
        _kill_in_other_town("receiver of"),
        needs="other_towns",
    ),
    LedgerFault(
        "city's broker killed",
        "SIGKILL of the city's Mosquitto, which keeps nothing",
        _kill_city_broker,
        needs="other_towns",
    ),
)
