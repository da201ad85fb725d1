"""Stores commands to HJ 212 stations, and what became of them.

The gateway inserts commands; the HJ 212 server claims and sends them, and stores the answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
from psycopg.types.json import Jsonb

from ingest_service.storage.postgres import read_rows
from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ingest_service.storage.contract.store import Database

CommandState = Literal["waiting", "sent", "accepted", "done", "refused", "failed", "timed_out", "expired"]
EXECUTION_S = 60.0  # time for the result (9012) after an acceptance (9011), and after each upload


class StationCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A command to a station and what became of it.

    Attributes
    ----------
    command, parameters : CN, and what its content is made of
    created_s, expires_s, finished_s : Unix seconds [s]; before ``expires_s`` it has to be sent
    over_time_s, re_count : time for an answer to one attempt [s], and attempts after the first
    state, attempts : ``waiting`` until the station is connected; attempts so far
    request : QN of all attempts, "" before the first
    result : QnRtn of a refusal or ExeRtn, None before
    answers : contents of the answers by command, in order
    uploads : uploads with its request number

    """

    command_id: int
    device_id: str
    command: str
    parameters: dict[str, Any]
    who: str
    note: str
    created_s: float
    expires_s: float
    over_time_s: float
    re_count: int
    state: CommandState
    attempts: int
    request: str
    finished_s: float | None
    result: int | None
    answers: list[dict[str, str]]
    uploads: int


class ClaimedCommand(msgspec.Struct, frozen=True):
    """A command that has to be sent now."""

    command_id: int
    device_id: str
    command: str
    parameters: dict[str, Any]
    request: str


class StationAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer of a station to a request, and the state that follows from it; None leaves the state."""

    device_id: str
    request: str
    command: str
    content: str
    state: CommandState | None = None
    result: int | None = None
    is_final: bool = False
    is_upload: bool = False


class StationCommandLog:
    """Commands to stations in the database. Methods raise the errors of the store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def insert(
        self,
        device_id: str,
        command: str,
        parameters: Mapping[str, Any],
        *,
        who: str,
        note: str,
        expires_s: float,
        over_time_s: float,
        re_count: int,
    ) -> StationCommand | None:
        """Insert a command, to be sent within ``expires_s`` [s]; None if there is no such device."""
        row = {
            "device_id": device_id,
            "command": command,
            "parameters": Jsonb(dict(parameters)),
            "who": who,
            "note": note,
            "expires_s": expires_s,
            "over_time_s": over_time_s,
            "re_count": re_count,
        }
        with self._database.transaction() as connection:
            inserted = connection.execute(QUERIES["insert_station_command"], row).fetchone()
            if inserted is None:
                return None
            selected = {"device_id": device_id, "command_id": inserted[0], "limit": 1}
            return read_rows.fetch_structs(connection, "station_commands", selected, StationCommand)[0]

    def of(self, device_id: str, *, command_id: int | None = None, limit: int = 100) -> list[StationCommand]:
        """Return commands of a device, newest first."""
        selected = {"device_id": device_id, "command_id": command_id, "limit": limit}
        with self._database.transaction() as connection:
            return read_rows.fetch_structs(connection, "station_commands", selected, StationCommand)

    def claim(
        self, device_ids: Sequence[str], connected: Sequence[str], *, zone: str = "Asia/Shanghai"
    ) -> list[ClaimedCommand]:
        """Finish what is over of the devices, and return what has to be sent to the connected ones now.

        A command is claimed again when the time for its answer is over, under the same request number, until
        its attempts are used up. Several processes may claim at the same time.
        """
        with self._database.transaction() as connection:
            connection.execute(QUERIES["expire_station_commands"], {"devices": list(device_ids)})
            if not connected:
                return []
            selected = {"devices": list(connected), "zone": zone}
            return read_rows.fetch_structs(connection, "claim_station_commands", selected, ClaimedCommand)

    def open_requests(self, device_ids: Sequence[str]) -> set[tuple[str, str]]:
        """Return device and request number of the commands that wait for answers."""
        with self._database.transaction() as connection:
            rows = connection.execute(QUERIES["open_station_requests"], {"devices": list(device_ids)})
            return set(rows.fetchall())

    def store_answers(self, answers: Sequence[StationAnswer]) -> None:
        """Store answers; one to no open command changes nothing."""
        with self._database.transaction() as connection:
            for one in answers:
                kept = [] if one.is_upload else [{"command": one.command, "content": one.content}]
                row = {
                    "device_id": one.device_id,
                    "request": one.request,
                    "answer": Jsonb(kept),
                    "uploads": int(one.is_upload),
                    "state": one.state,
                    "result": one.result,
                    "is_final": one.is_final,
                    "execution_s": EXECUTION_S,
                }
                connection.execute(QUERIES["answer_station_command"], row)
