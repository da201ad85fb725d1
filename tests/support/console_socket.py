"""Opens the console's WebSocket (Engine.IO, Socket.IO) as a browser does."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from gateway.auth import api_keys
from gateway.auth.principal import Role
from tests.support.gateway_access import ACCOUNTS


class ConsoleSocket:
    """A page's WebSocket as a browser opens it (Engine.IO 4, Socket.IO 5)."""

    def __init__(
        self, base_url: str, client_id: str, key: str, *, implicit: bool, tab_id: str = "tab"
    ) -> None:
        query = (
            f"EIO=4&transport=websocket&client_id={client_id}&next_message_id=0&document_id=d&tab_id={tab_id}"
        )
        query += "&implicit_handshake=true" if implicit else ""
        address = f"{base_url.replace('http', 'ws')}/_nicegui_ws/socket.io/?{query}"
        self.received: list[str] = []
        self._stack = ExitStack()
        self._socket = self._stack.enter_context(connect(address, additional_headers={"X-API-Key": key}))
        self.until("0{")
        self.send("40")
        self.until("4")

    def send(self, text: str) -> None:
        self._socket.send(text)

    def until(self, begin: str, timeout_s: float = 5.0) -> bool:
        """Return whether a message with a prefix arrives within the timeout."""
        deadline = time.monotonic() + timeout_s
        try:
            while (remaining_s := deadline - time.monotonic()) > 0:
                self.received.append(str(self._socket.recv(remaining_s)))
                if self.received[-1].startswith(begin):
                    return True
        except (TimeoutError, ConnectionClosed):
            pass
        return False

    def close(self) -> None:
        self._stack.close()


def key_of_area(area: str) -> str:
    return api_keys.create_key(
        ACCOUNTS, name=f"of {area}", role=Role.VIEWER, area_id=area, created_by="tests"
    )[1]


def load_page(base_url: str, key: str) -> str:
    """Load the page with a key; return its NiceGUI client id."""
    answer = httpx.get(f"{base_url}/", headers={"X-API-Key": key}, timeout=30)
    assert answer.status_code == 200, answer.text
    found = re.search(r"'client_id': '([0-9a-f-]{36})'", answer.text)
    assert found is not None
    return found[1]
