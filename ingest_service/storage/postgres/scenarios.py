"""Stores scenarios, what if something were changed, with their inputs and results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
from psycopg.types.json import Jsonb

from ingest_service.storage.postgres import read_rows
from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from ingest_service.storage.contract.store import Database


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """A scenario and what it gave.

    Attributes
    ----------
    area_ids : of all places that it names
    who, created_s : who computed it, and when, Unix time [s]
    network_version, at_s : version of the directory, and the time at which the scenario begins [s]
    computing_s : how long the computation took [s]
    inputs, result : as the API has them; ``result`` is None in lists

    """

    scenario_id: int = 0  # given by the store
    area_ids: list[str]
    kind: Literal["water", "traffic"]
    name: str
    who: str
    created_s: float = 0.0  # given by the store
    network_version: int
    at_s: float
    computing_s: float
    inputs: dict[str, Any]
    result: dict[str, Any] | None


class ScenarioLog:
    """Scenarios in the database; nothing is changed; only what is older than the retention time is deleted.

    Methods raise the errors of the store.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def insert(self, scenario: Scenario) -> Scenario:
        """Store a scenario; return it with its id and time."""
        row = msgspec.structs.asdict(scenario)
        row |= {"inputs": Jsonb(scenario.inputs), "result": Jsonb(scenario.result)}
        with self._database.transaction() as connection:
            stored = connection.execute(QUERIES["insert_scenario"], row).fetchone()
        assert stored is not None  # noqa: S101 - INSERT … RETURNING without a condition
        return msgspec.structs.replace(scenario, scenario_id=stored[0], created_s=stored[1])

    def one(self, scenario_id: int) -> Scenario | None:
        """Return a scenario; None if there is none of this id in the areas."""
        with self._database.transaction() as connection:
            return next(iter(read_rows.fetch_structs(connection, "scenario", (scenario_id,), Scenario)), None)

    def newest(self, *, limit: int, before: int | None = None) -> list[Scenario]:
        """Return scenarios without their results, newest first, those before an id."""
        with self._database.transaction() as connection:
            parameters = {"limit": limit, "before": before}
            return read_rows.fetch_structs(connection, "scenarios", parameters, Scenario)

    def delete_before(self, before_s: float) -> int:
        """Delete the scenarios that were computed before a time, Unix seconds [s]; return how many."""
        with self._database.transaction() as connection:
            return int(connection.execute(QUERIES["delete_scenarios"], (before_s,)).rowcount)
