"""Publishes the spool to the county's gateway by HTTPS, and deletes messages that have receipts.

It is used in place of `edge.agent.publisher.SpoolPublisher`, where the county's broker can't be reached. The
proxy of the environment (``https_proxy``) is used.
"""

from __future__ import annotations

import json
import ssl
from http.client import HTTPException
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import msgspec
import structlog

from edge.agent.spool import SpoolBusyError
from edge.wire.backoff import Backoff
from edge.wire.errors import PayloadError, WireError
from edge.wire.federation_uplink import (
    MAX_MESSAGES,
    PATH,
    UplinkMessage,
    UplinkRequest,
    UplinkResponse,
    decode_response,
)
from edge.wire.password_file import read_password
from ingest_service.federation.errors import FederationError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from edge.agent.spool import Spool, SpooledMessage
    from edge.wire.receipts import RefusedMessage

log = structlog.get_logger()

BATCH_BYTES: Final = 2 << 20
TIMEOUT_S: Final = 20.0  # longer than the gateway waits for the receiver
COMMANDS_POLL_S: Final = 10.0
SPOOL_POLL_S: Final = 0.05
MAX_RESPONSE_BYTES: Final = 16 << 20
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class CountyAddress(NamedTuple):
    """Address of a county's gateway, authority of its certificate if it is no public one, file of the key."""

    url: str
    ca: Path | None
    key_file: Path


class UplinkError(FederationError):
    """A request had no response, or one that is of no use; the messages are sent again."""


def check_address(county: CountyAddress) -> CountyAddress:
    """Return an address that can be used. Raises `FederationError`."""
    parts = urlsplit(county.url)
    if parts.scheme != "https" and (parts.scheme, parts.hostname in LOOPBACK) != ("http", True):
        raise FederationError(f"county_url {county.url!r}: the key may be sent by https:// alone")
    _key_of(county)
    _context_of(county)
    return county


class HttpsPublisher:
    """Sends the messages of the spool in order, until each has its receipt.

    Parameters
    ----------
    device : that forwards, as it is enrolled at the county
    on_refusal : called with each message that the county refused
    on_command : called with each command, on the thread of `run`

    """

    def __init__(
        self,
        device: str,
        spool: Spool,
        county: CountyAddress,
        *,
        on_refusal: Callable[[RefusedMessage], None],
        on_command: Callable[[bytes], None],
    ) -> None:
        self._device, self._spool, self._county = device, spool, county
        self._on_refusal, self._on_command = on_refusal, on_command
        self._backoff = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S)
        self.connected = False

    def run(self, stop: threading.Event) -> None:
        """Send until ``stop`` is set."""
        while not stop.is_set():
            try:
                messages = self._batch()
                response = self._post(messages)
                kept = self._receive(response)
            except (UplinkError, SpoolBusyError) as error:
                self.connected = False
                wait_s = self._backoff.next_s()
                log.warning(
                    "county_away", county=self._county.url, error=str(error), next_try_in_s=round(wait_s, 1)
                )
                stop.wait(wait_s)
                continue
            self.connected = True
            if messages and not kept:
                stop.wait(self._backoff.next_s())  # taken by the gateway, and not stored yet
                continue
            self._backoff.reset()
            self._wait_for_messages(stop)

    def _batch(self) -> list[SpooledMessage]:
        batch: list[SpooledMessage] = []
        size = 0
        for one in self._spool.after(-1, MAX_MESSAGES):
            size += len(one.payload)
            if batch and size > BATCH_BYTES:
                break
            batch.append(one)
        return batch

    def _receive(self, response: UplinkResponse) -> int:
        """Delete messages with receipts; return their number."""
        before = self._spool.waiting
        for receipt in response.receipts:
            for refused in receipt.refused:
                self._on_refusal(refused)
            self._spool.forget(receipt.epoch, receipt.kept)
        for command in response.commands:
            self._on_command(bytes(command))
        return before - self._spool.waiting

    def _wait_for_messages(self, stop: threading.Event) -> None:
        waited_s = 0.0
        while not self._spool.waiting and waited_s < COMMANDS_POLL_S and not stop.wait(SPOOL_POLL_S):
            waited_s += SPOOL_POLL_S

    def _post(self, messages: list[SpooledMessage]) -> UplinkResponse:
        """Post messages. Raises `UplinkError`."""
        body = UplinkRequest(
            device=self._device,
            epoch=self._spool.epoch,
            messages=[UplinkMessage(one.number, one.payload.decode()) for one in messages],
        )
        try:  # key and authority are read anew: their files may have been renewed
            headers = {"Content-Type": "application/json", "X-API-Key": _key_of(self._county)}
            request = Request(  # noqa: S310 - the scheme was checked
                self._county.url.rstrip("/") + PATH, msgspec.json.encode(body), headers
            )
            with urlopen(request, timeout=TIMEOUT_S, context=_context_of(self._county)) as response:  # noqa: S310
                answer = response.read(MAX_RESPONSE_BYTES)
            return decode_response(answer)
        except HTTPError as error:
            raise UplinkError(f"the county answers {error.code}: {_problem_of(error)}") from error
        except URLError as error:
            raise UplinkError(f"the county can't be reached: {error.reason}") from error
        except (OSError, HTTPException, PayloadError, FederationError) as error:
            raise UplinkError(f"no answer of the county: {error}") from error


def _key_of(county: CountyAddress) -> str:
    try:
        return read_password(county.key_file)
    except WireError as error:
        raise FederationError(f"county_key_file: {error}") from error


def _context_of(county: CountyAddress) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=county.ca)
    except (OSError, ssl.SSLError) as error:
        raise FederationError(f"county_ca {county.ca}: can't be read ({error})") from error


def _problem_of(error: HTTPError) -> str:
    try:
        return str(json.loads(error.read(MAX_RESPONSE_BYTES))["detail"])
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return "without a reason"
