"""Serves the console on a port of this process."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import uvicorn

from deploy.embedded.server_environment import free_port
from tests.support.gateway_access import KEY, gateway_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest_service.storage.contract.store import Store

LANGUAGES = {"en": "en-US", "zh": "zh-CN"}


def serve_console(store: Store, **changed: Any) -> Iterator[str]:
    """Yield the console's login URL with a key, and serve the console until the generator resumes."""
    port = free_port()
    app = gateway_app(store, console=True, **changed)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}/login#{KEY}"
    server.should_exit = True
    thread.join(30)
