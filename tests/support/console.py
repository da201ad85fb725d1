"""Serves the console on a port of this process, with NiceGUI's globals reset."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn
from nicegui.testing.general import nicegui_reset_globals

from deploy.embedded.server_environment import free_port
from tests.support.gateway_access import KEY, gateway_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest_service.storage.contract.store import Store

LANGUAGES = {"en": "en-US", "zh": "zh-CN"}


@contextmanager
def console_globals() -> Iterator[None]:
    """Reset NiceGUI's globals, but keep imported the modules that define pages, which NiceGUI removes."""
    with nicegui_reset_globals():
        kept = dict(sys.modules)
        yield
    sys.modules.update(kept)


def serve_console(store: Store, **changed: Any) -> Iterator[str]:
    """Yield the console's login URL with a key, and serve the console until the generator resumes.

    NiceGUI keeps its application, pages and middleware in globals, so a process serves one console at a
    time, and each starts with the globals reset.

    """
    with console_globals():
        port = free_port()
        app = gateway_app(store, console=True, **changed)
        server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, ws="websockets-sansio"))
        thread = threading.Thread(target=server.run)
        thread.start()
        deadline = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}/login#{KEY}"
        server.should_exit = True
        thread.join(10)
