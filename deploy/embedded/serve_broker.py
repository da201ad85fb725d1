"""Child process of the embedded broker: runs rumqttd as an unprivileged user until the parent process ends.

It is started by `EmbeddedBroker`, not by users. Its standard input is a pipe from the parent: when the pipe
closes, for whatever reason, the broker ends.
"""

from __future__ import annotations

import logging
import os
import sys
import threading

from iotcore import IotCoreBroker

from deploy.embedded.server_environment import BROKER_UID


def main() -> None:
    """Run the broker with the configuration file of the first argument."""
    # rumqttd logs every packet that it routes at level ERROR, hence nothing below CRITICAL.
    logging.basicConfig(level=logging.CRITICAL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    broker = IotCoreBroker(config_path=sys.argv[1])
    _drop_privileges()
    broker.run_forever()


def _drop_privileges() -> None:
    """Switch to the broker's own user id: with the database's it could write the database's access rules."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(BROKER_UID)
        os.setuid(BROKER_UID)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
