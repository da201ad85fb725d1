"""Request and response by which a town forwards over HTTPS instead of MQTT (docs/federation.md).

The messages, their numbers and their receipts are those of MQTT. A response has the receipts of the messages
that are stored, and the commands that wait for the town.
"""

from __future__ import annotations

import msgspec

from edge.wire.errors import PayloadError
from edge.wire.receipts import Receipt  # noqa: TC001 - msgspec reads the annotations

PATH = "/v1/federation/messages"
MAX_MESSAGES = 200
"""Messages in one request."""


class UplinkMessage(msgspec.Struct, frozen=True):
    """A message of the spool by its number; the payload is the JSON text that MQTT would carry."""

    number: int
    payload: str


class UplinkRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Messages of one spool; none to collect commands alone."""

    device: str
    epoch: str
    messages: list[UplinkMessage]


class UplinkResponse(msgspec.Struct, frozen=True, kw_only=True):
    """Receipts of messages of the request, and commands as in `edge.wire.federation_commands`."""

    receipts: list[Receipt] = []
    commands: list[msgspec.Raw] = []


def decode_response(body: bytes) -> UplinkResponse:
    """Decode a response. Raises `PayloadError`."""
    try:
        return msgspec.json.decode(body, type=UplinkResponse)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PayloadError(f"it is no response to forwarded messages: {error}") from error
