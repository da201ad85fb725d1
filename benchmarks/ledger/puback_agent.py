"""Runs the same edge agent for a receiver without receipts: a PUBACK of the broker lets a message go.

Records are SenML without base fields, since Telegraf resolves none.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import msgspec

from benchmarks.ledger.counting_agent import continued_driver, parse_arguments, spool_settings
from edge.agent.publisher import SpoolPublisher
from edge.agent.spool import Spool, SpoolEntry
from edge.wire.broker_address import parse_broker_address

if TYPE_CHECKING:
    from edge.wire.senml import Record

POLL_S = 0.1


def encode(records: list[Record]) -> bytes:
    """Return a SenML pack whose records are complete in themselves."""
    return msgspec.json.encode(
        [{"n": one.name, "u": one.unit, "t": one.time_s, "v": one.value} for one in records]
    )


def main() -> None:
    """Run the agent until the broker has taken all its readings."""
    options = parse_arguments()
    settings = msgspec.structs.replace(spool_settings(), receipts=False)
    spool = Spool.open(options.folder / "spool", settings)
    publisher = SpoolPublisher(
        options.area, options.device, spool, parse_broker_address(options.broker), settings, has_status=False
    )
    stop = threading.Event()
    network = threading.Thread(target=publisher.run, args=(stop,), daemon=True)
    network.start()
    for pack in continued_driver(options, spool).packs():
        spool.put([SpoolEntry(encode(list(pack.records)), len(pack.records))])
    while spool.waiting:
        if not network.is_alive():
            raise SystemExit("the publisher has ended")
        time.sleep(POLL_S)
    stop.set()


if __name__ == "__main__":
    main()
