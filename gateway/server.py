"""Runs the gateway under uvicorn."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

import uvicorn

from gateway.app import create_app
from gateway.transport.timeout_protocol import protocol_with_timeouts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.settings import Settings
    from ingest_service.storage.contract.store import Store

SHUTDOWN_GRACE_S = 3
THREAD_SWITCH_INTERVAL_S = (
    0.0005  # a short request waits so long for the interpreter beside a long one; default 5 ms
)
GC_THRESHOLD = (
    50_000  # objects between two looks for garbage: a page of a thousand rows makes some ten thousand
)


def serve(store: Store, settings: Settings, heavy_worker: Sequence[str] = ()) -> None:
    """Serve until a signal; requests that are under way may end.

    ``heavy_worker`` is the command of the process for heavy requests, where the settings want one.
    """
    app = create_app(store, settings, heavy_worker=heavy_worker if settings.heavy_process else ())
    gc.freeze()  # what is there now stays, and need not be looked through again
    gc.set_threshold(GC_THRESHOLD)
    sys.setswitchinterval(THREAD_SWITCH_INTERVAL_S)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        http=protocol_with_timeouts(settings),
        proxy_headers=False,  # where a request comes from is what the connection says
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
    )
