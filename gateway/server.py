"""The gateway as a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import uvicorn

from gateway.access.patience import patient
from gateway.app import create_app

if TYPE_CHECKING:
    from gateway.settings import Settings
    from ingest_service.storage.store import Store

GRACE_S = 3


def serve(store: Store, settings: Settings) -> None:
    """Serve until a signal; requests that are under way may end."""
    uvicorn.run(
        create_app(store, settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        http=patient(settings),
        proxy_headers=False,  # where a request comes from is what the connection says
        timeout_graceful_shutdown=GRACE_S,
    )
