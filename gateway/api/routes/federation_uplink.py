"""Route by which towns forward over HTTPS: messages are put into an inbox, and stored by the receiver."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from edge.wire import federation
from edge.wire.federation_commands import encode_command
from gateway.api.models import federation_models as models
from gateway.api.problems import ProblemError
from gateway.api.request_context import CurrentContext
from gateway.auth.authorization import FORWARDING, requires
from ingest_service.storage.contract.federation_commands import wire_command
from ingest_service.storage.postgres.enrolments import EnrolmentQuery
from ingest_service.storage.postgres.federation_commands import FederationCommands
from ingest_service.storage.postgres.federation_inbox import FederationInbox, InboxFullError

if TYPE_CHECKING:
    from gateway.api.request_context import RequestContext
    from ingest_service.storage.contract.models import Device
    from ingest_service.storage.contract.store import Database

router = APIRouter(prefix="/v1/federation", tags=["federation"])

RECEIPTS_S: Final = 8.0
POLL_S: Final = 0.05
LONGEST_POLL_S: Final = 0.5
MAX_COMMANDS: Final = 100
MAX_COMMANDS_BYTES: Final = 2 << 20


@router.post("/messages", include_in_schema=False)
@requires(FORWARDING)
async def forward_messages(
    context: CurrentContext, requested: models.ForwardedMessagesRequest
) -> models.ForwardedMessagesResponse:
    """Messages of a town's forwarder; the response has the receipts of those that are stored.

    A message without a receipt is to be sent again: a repeat is recognised by its epoch and number. The key
    needs the scope `federation` by name and the town's area.
    """
    device = await run_in_threadpool(_forwarder, context, requested.device)
    database = context.scoped_database
    inbox = FederationInbox(database)
    try:
        contents = [(one.number, one.payload.encode()) for one in requested.messages]
        await run_in_threadpool(inbox.put, device.device_id, device.area_id, requested.epoch, contents)
    except UnicodeEncodeError as error:
        raise ProblemError(
            422,
            "messages: a payload is no text in Unicode: send the JSON text of the message",
            where="payload",
        ) from error
    except InboxFullError as error:
        raise ProblemError(
            503,
            f"{error}: start `towntwin federate receive` at the county; the town sends again",
            headers={"Retry-After": "30"},
        ) from error
    numbers = sorted({number for number, _ in contents})
    ends_s, poll_s = time.monotonic() + RECEIPTS_S, POLL_S
    while True:
        receipts = await run_in_threadpool(inbox.receipts, device.device_id, requested.epoch, numbers)
        kept = sum(last - first + 1 for one in receipts for first, last in one.kept)
        if kept >= len(numbers) or time.monotonic() >= ends_s:
            break
        await asyncio.sleep(poll_s)
        poll_s = min(LONGEST_POLL_S, 1.5 * poll_s)
    return models.ForwardedMessagesResponse(
        receipts=[models.ReceiptResponse(**msgspec.to_builtins(one)) for one in receipts],
        commands=await run_in_threadpool(_commands, database, device.device_id),
    )


def _forwarder(context: RequestContext, device_id: str) -> Device:
    """Return the device of a town that the key is made for. Raises `ProblemError` 403.

    A key of all rights is refused, as is one of an area above: it would write for several towns.
    """
    principal = context.principal
    if FORWARDING.scope not in principal.scopes:
        raise ProblemError(
            403,
            "this key is not made for forwarding: create one by `towntwin key create --name … --area TOWN"
            " --scope federation`",
        )
    device = next(
        (one for one in context.directory_index.directory.devices if one.device_id == device_id), None
    )
    if (
        device is None
        or device.kind != federation.DEVICE_KIND
        or device.area_id not in (principal.areas or ())
    ):
        raise ProblemError(
            403,
            f"device {device_id!r} is none that forwards for the area of this key: enrol it with the kind"
            f" {federation.DEVICE_KIND!r}, and use the key of its town",
            where="device",
        )
    query = EnrolmentQuery(device_id=device_id, limit=1)
    if any(one.state == "revoked" for one in context.enrolments.enrolments(query)):
        raise ProblemError(403, f"device {device_id!r} was revoked: enrol it anew", where="device")
    return device


def _commands(database: Database, device_id: str) -> list[dict[str, Any]]:
    waiting = FederationCommands(database).to_send(MAX_COMMANDS, device=device_id)
    commands: list[dict[str, Any]] = []
    size = 0
    for one in waiting:
        encoded = encode_command(wire_command(one.command))
        size += len(encoded)
        if commands and size > MAX_COMMANDS_BYTES:
            break  # the others follow once these have their results
        commands.append(msgspec.json.decode(encoded))
    return commands
