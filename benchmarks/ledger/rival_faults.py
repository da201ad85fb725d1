"""Defines the faults of the rival's ledger: those of the ledger that apply to Telegraf, in the same words."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from benchmarks.ledger import faults
from benchmarks.ledger.chain import DEVICES
from benchmarks.ledger.fault_kind import FaultContext, LedgerFault, NoEffectError
from benchmarks.ledger.faults import FAULT_KINDS, MALFORMED
from benchmarks.ledger.rival import TABLES, RivalChain
from tests.support.throwaway_servers import frozen

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.tcp_proxy import Proxy


def _rival(context: FaultContext) -> RivalChain:
    assert isinstance(context.chain, RivalChain)
    return context.chain


def _kill(context: FaultContext) -> None:
    for one in _rival(context).telegrafs.values():
        one.kill()


def _freeze(context: FaultContext) -> None:
    with ExitStack() as stack:
        for one in _rival(context).telegrafs.values():
            stack.enter_context(frozen(one.process.pid))
        time.sleep(context.seconds())


def _lock_readings(context: FaultContext) -> None:
    with context.chain.connect() as connection, connection.transaction():
        for one in TABLES:
            connection.execute(f"LOCK TABLE {one.schema}.reading IN EXCLUSIVE MODE")
        time.sleep(context.seconds())


def _lose_commit_answers(context: FaultContext) -> None:
    """Lose the answer to a COMMIT once for each table, of whichever is written first."""
    proxy: Proxy = context.chain.database_network
    try:
        for _ in TABLES:
            if not proxy.cut_after(b"PGCOPY\n", b"commit", answer_lost=True).sprung.wait(context.longest_s):
                raise NoEffectError("nothing was committed meanwhile")
    finally:
        proxy.restore()


def _take_sessions_over(context: FaultContext) -> None:
    for one in TABLES:
        with faults.connected(context.chain, one.client_id):
            time.sleep(0.2)


def _poison(context: FaultContext) -> None:
    """Publish malformed payloads once: nothing shows where they are afterwards."""
    with suppress(OSError, RuntimeError, ValueError):
        faults.publish(context, faults.data_topic(DEVICES[0]), faults.poison_payloads(context.number))


REPLACED: dict[str, tuple[str, Callable[[FaultContext], None]]] = {
    "ingest killed": ("SIGKILL of Telegraf", _kill),
    "ingest frozen": ("SIGSTOP of Telegraf", _freeze),
    "readings locked": ("another transaction locks the table of readings", _lock_readings),
    "answer to COMMIT lost": (
        "the transaction is committed, the connection ends before the answer",
        _lose_commit_answers,
    ),
    "session taken over": ("another client connects with the id of Telegraf", _take_sessions_over),
    MALFORMED: ("payloads that cannot be decoded, on a device's topic", _poison),
}
INAPPLICABLE = {
    "standby killed": "there is no standby",
    "zombie": "there is no standby",
    "service killed": "there is no service",
    "service frozen": "there is no service",
    "gateway killed": "there is no gateway",
    "clock of ingest jumps": "Telegraf does not read its clock through the C library",
    "clock of the service jumps": "there is no service",
    "HJ 212 server killed": "there is no HJ 212 server",
    "station cut off": "there is no HJ 212 server",
    "HJ 212 server loses power": "there is no HJ 212 server",
    "forwarder killed": "there is no county",
    "receiver killed": "there is no county",
    "county's broker killed": "there is no county",
    "county network refuses": "there is no county",
    "ingest of another town killed": "there is one town",
    "another town's broker killed": "there is one town",
    "another forwarder killed": "there is one town",
    "city's receiver killed": "there is no city",
    "city's broker killed": "there is no city",
}
RIVAL_FAULT_KINDS = tuple(
    one._replace(description=REPLACED[one.name][0], cause=REPLACED[one.name][1])
    if one.name in REPLACED
    else one
    for one in FAULT_KINDS
    if one.name not in INAPPLICABLE
)


def possible_kinds(chain: RivalChain) -> list[LedgerFault]:
    """Return the kinds of faults that can be caused on the rival."""
    return [one for one in RIVAL_FAULT_KINDS if getattr(chain, one.needs) is not None]
