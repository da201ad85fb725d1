"""The gateway's process for heavy requests (`gateway.heavy_worker`), with the logs of the command."""

from __future__ import annotations

import sys

import msgspec

from deploy import log
from deploy.settings import Common
from gateway.heavy_worker import main

if __name__ == "__main__":
    log.configure(msgspec.json.decode(sys.argv[1], type=Common))
    main(int(sys.argv[2]))
