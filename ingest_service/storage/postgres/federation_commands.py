"""Stores commands from a county to its towns: at the platform that issues, passes on or applies them.

A command is received at least once, and has its effect once: its row, its effect and its audit entry are one
transaction. Its result goes up with the forwarded messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from psycopg.types.json import Jsonb

from edge.wire.federation import CommandResult
from ingest_service.storage.contract.federation_commands import (
    CommandToSend,
    IssuedCommand,
    content_summary,
    target_of,
)
from ingest_service.storage.postgres import read_rows, shard_lease
from ingest_service.storage.postgres.federated_items import store_each
from ingest_service.storage.postgres.incidents import apply_update
from ingest_service.storage.postgres.limit_changes import adopt_limits
from ingest_service.storage.postgres.named_queries import QUERIES
from ingest_service.storage.postgres.sqlstate import translated_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Connection

    from ingest_service.storage.contract.batch import Epoch
    from ingest_service.storage.contract.federation import ForwarderIdentity, RefusedItems
    from ingest_service.storage.contract.federation_commands import CommandEffect
    from ingest_service.storage.contract.store import Database
    from ingest_service.storage.postgres.federated_rows import FederatedRows

STATUS: Final = {"waiting": 202, "applied": 200, "refused": 409}
"""HTTP status in the audit by what became of a command."""


class FederationCommands:
    """Commands in the database. Methods raise the errors of the store."""

    def __init__(self, database: Database, epoch: Epoch | None = None) -> None:
        self._database, self._epoch = database, epoch

    def issue(self, command: IssuedCommand) -> IssuedCommand:
        """Insert a command of this platform; the receiver sends it until its result is known."""
        row = _row(command)
        with self._database.transaction() as connection:
            (issued,) = read_rows.fetch_structs(connection, "issue_federation_command", row, IssuedCommand)
        return issued

    def found(self, *, command_id: str | None = None, limit: int = 100) -> list[IssuedCommand]:
        """Return commands, newest first."""
        parameters = {"command_id": command_id, "limit": limit}
        with self._database.transaction() as connection:
            return read_rows.fetch_structs(connection, "federation_commands", parameters, IssuedCommand)

    def to_send(self, limit: int, *, device: str | None = None) -> list[CommandToSend]:
        """Return commands for platforms below, or one of them, whose results are not known, oldest first."""
        parameters = {"limit": limit, "device": device}
        with self._database.transaction() as connection:
            rows = read_rows.fetch_structs(
                connection, "federation_commands_to_send", parameters, dict[str, Any]
            )
        return [CommandToSend(msgspec.convert(row, IssuedCommand), row["device_area"]) for row in rows]

    def forwarders(self, area: str) -> list[tuple[str, str]]:
        """Return who forwards to this platform for an area, for those below it, or for one above it.

        Each is (device, area): those at or below the area, or else that of the lowest area above.
        """
        with self._database.transaction() as connection:
            return list(connection.execute(QUERIES["forwarders_of_area"], {"area": area}))

    def is_received(self, command_id: str) -> bool:
        """Whether a command of the platform above was received before."""
        return any(one.from_above for one in self.found(command_id=command_id))

    def receive(self, command: IssuedCommand, effect: CommandEffect) -> bool:
        """Store a command of the platform above with its effect; False if it was received before.

        Then its result, if it has one, is reported again. Raises `ShardLostError` if another process forwards
        now.
        """
        applies = effect.limits is not None or effect.incident is not None or effect.is_done
        state = "refused" if effect.refusal else "applied" if applies else "waiting"
        row = _row(command) | {"device_id": effect.device, "state": state, "detail": effect.refusal}
        with translated_errors(), self._database.transaction() as connection:
            with connection.cursor() as cursor:
                shard_lease.check_epoch(cursor, self._epoch)
            if connection.execute(QUERIES["receive_federation_command"], row).fetchone() is None:
                connection.execute(QUERIES["report_federation_command_again"], (command.command_id,))
                return False
            if effect.limits is not None:
                series_id, limits = effect.limits
                adopt_limits(connection, series_id, limits, who=command.who, note=command.note)
            if effect.incident is not None:
                opened = apply_update(connection, effect.incident, [])
                connection.execute(QUERIES["set_opened_incident"], row | {"incident_id": opened.incident_id})
            _audit(connection, command, state, effect.refusal, by=command.who, address="above")
        return True

    def results(self, limit: int) -> list[CommandResult]:
        """Return the results that the platform above has not confirmed, oldest first."""
        with self._database.transaction() as connection:
            return read_rows.fetch_structs(connection, "federation_command_results", (limit,), CommandResult)

    def store_results(
        self,
        rows: FederatedRows,
        sender: ForwarderIdentity,
        results: Sequence[CommandResult],
        refused: RefusedItems | None = None,
    ) -> None:
        """Store results of a platform below; those known already, and of commands to others, change nothing.

        Adopted limits are noted here too, and an opened incident is put below the one that was dispatched.
        Raises as the methods of `FederatedRows` do.
        """
        with rows.message(sender) as (connection, _):

            def store(one: CommandResult) -> None:
                parameters = msgspec.structs.asdict(one) | {"device": sender.device}
                finished = read_rows.fetch_structs(
                    connection, "finish_federation_command", parameters, IssuedCommand
                )
                for command in finished:
                    _note_result(connection, sender, command)

            store_each(connection, "results", enumerate(results), store, refused)


def _note_result(connection: Connection[Any], sender: ForwarderIdentity, command: IssuedCommand) -> None:
    if command.state == "applied" and command.kind == "limits":
        named = command.content | {"device": sender.device}
        series = connection.execute(QUERIES["series_of_command"], named).fetchone()
        if series is not None:
            adopt_limits(connection, series[0], command.content["limits"], who=command.who, note=command.note)
    if command.own_incident is not None and command.incident_id is not None:
        child = {
            "parent_id": command.own_incident,
            "origin": sender.device,
            "incident_id": command.incident_id,
        }
        connection.execute(QUERIES["set_parent_of_origin"], child)
    by = f"device:{sender.device}"
    _audit(connection, command, command.state, command.detail, by=by, address="below")


def _audit(
    connection: Connection[Any], command: IssuedCommand, state: str, detail: str, *, by: str, address: str
) -> None:
    entry = {
        "who": by,
        "name": by,
        "areas": [command.area_id],
        "action": f"federation {command.kind}",
        "target": target_of(command.content),
        "address": address,
        "status": STATUS[state],
        "detail": Jsonb(
            {
                "command_id": command.command_id,
                "issued_by": command.who,
                "note": command.note,
                "content": content_summary(command.content),
                "refusal": detail,
            }
        ),
    }
    connection.execute(QUERIES["audit_insert"], entry)


def _row(command: IssuedCommand) -> dict[str, Any]:
    return msgspec.structs.asdict(command) | {"content": Jsonb(command.content)}
