"""Starts the gateway's worker for heavy requests (`gateway.heavy_worker`) with the command's logging."""

from __future__ import annotations

import sys

import msgspec

from deploy import logging_setup
from deploy.settings import CommonSettings
from gateway.heavy_worker import main

if __name__ == "__main__":
    logging_setup.configure(msgspec.json.decode(sys.argv[1], type=CommonSettings))
    main(int(sys.argv[2]))
