"""The child process of the embedded broker: rumqttd, as an unprivileged user, as long as its parent lives.

Not for people; `EmbeddedBroker` starts it. Its standard input is the parent's lifeline: when that closes, for
whatever reason, the broker ends.
"""

from __future__ import annotations

import logging
import os
import sys
import threading

from iotcore import IotCoreBroker

from deploy.embedded.server_environment import BROKER_UID


def main() -> None:
    """Serve by the configuration file that the first argument names."""
    # rumqttd writes a line at level ERROR for every packet that it routes, hence nothing below CRITICAL.
    logging.basicConfig(level=logging.CRITICAL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    broker = IotCoreBroker(config_path=sys.argv[1])
    _drop_privileges()
    broker.run_forever()


def _drop_privileges() -> None:
    """As a user of its own: the database's could write what tells the database whom to trust."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(BROKER_UID)
        os.setuid(BROKER_UID)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
