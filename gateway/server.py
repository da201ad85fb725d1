"""Runs the gateway's application under uvicorn until a signal, with tuned garbage collection."""

from __future__ import annotations

import gc
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

import uvicorn

from gateway import compile_steps
from gateway.app import create_app
from gateway.transport.timeout_protocol import protocol_with_timeouts
from gateway.transport.tls_certificate import ReloadingTlsContext, TlsCertificateError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.settings import Settings
    from ingest_service.storage.contract.store import Store

SHUTDOWN_GRACE_S = 3
# A short request waits so long for the interpreter lock beside a long one; Python's default is 5 ms.
THREAD_SWITCH_INTERVAL_S = 0.0005
# Allocations between two collections: a page of a thousand rows allocates some ten thousand objects.
GC_THRESHOLD = 50_000


def serve(
    store: Store,
    settings: Settings,
    heavy_worker: Sequence[str] = (),
    network_worker: Sequence[str] = (),
) -> None:
    """Serve until a signal; requests in progress get `SHUTDOWN_GRACE_S` to finish.

    ``heavy_worker`` is the command of the heavy worker process, used if the setting ``heavy_process`` is on.
    ``network_worker`` is that of the process that reads and writes files of networks.

    Raises
    ------
    TlsCertificateError
        If the certificate of HTTPS can't be used.

    """
    tls = _tls_context(settings)
    if not (settings.heavy_process and heavy_worker):  # the worker does so itself
        compile_steps.start_compiling()  # else all scenarios on roads are computed by NumPy
    app = create_app(
        store,
        settings,
        heavy_worker=heavy_worker if settings.heavy_process else (),
        network_worker=network_worker,
    )
    gc.freeze()  # the objects of the start-up stay: later collections skip them
    gc.set_threshold(GC_THRESHOLD)
    sys.setswitchinterval(THREAD_SWITCH_INTERVAL_S)
    with nullcontext() if tls is None else tls.reloading():
        uvicorn.run(
            app,
            host=settings.host,
            port=settings.port,
            ssl_context_factory=None if tls is None else lambda _config, _default: tls.context,
            log_config=None,
            access_log=False,
            server_header=False,
            http=protocol_with_timeouts(settings),
            proxy_headers=False,  # `ForwardedHeaders` does this, for trusted proxies only
            timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
        )


def _tls_context(settings: Settings) -> ReloadingTlsContext | None:
    """Return the context of HTTPS; None without a certificate. Raises `TlsCertificateError`."""
    if settings.tls_cert is None and settings.tls_key is None:
        return None
    if settings.tls_cert is None or settings.tls_key is None:
        raise TlsCertificateError("HTTPS needs both --tls-cert and --tls-key")
    return ReloadingTlsContext(settings.tls_cert, settings.tls_key)
