"""Example scenarios on the river of the demo towns."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from analytics.service.water_scenarios import WaterChange, water_scenario
from ingest_service.storage.postgres.scenarios import Scenario, ScenarioLog

if TYPE_CHECKING:
    from ingest_service.storage.postgres.store import PostgresStore

BRIDGE, LAST_REACH = "330483-d1-r02", "330483-d1-k04:330483-d1-r05"
ROAD = "330483-d1-j01:330483-d1-s02"
SCENARIO: dict[str, Any] = {
    "name": "Tanker at the market bridge",
    "changes": [{"kind": "spill", "node": BRIDGE, "kg": 50, "duration_minutes": 30}],
}
SPILL = WaterChange(kind="spill", target=BRIDGE, start_s=0, duration_s=1800, amount=50)
CLOSED = WaterChange(kind="sluice", target=LAST_REACH, start_s=0, duration_s=86_400, amount=0)


NAMES = (f"{SCENARIO['name']}, sluice free", f"{SCENARIO['name']}, sluice closed")


def add_example_scenarios(store: PostgresStore, names: tuple[str, str] = NAMES) -> None:
    """Store the example, and the same spill with the sluice at the end of the first town closed."""
    directory = store.directory()
    begin_s = time.time()
    for name, changes in zip(names, ([SPILL], [SPILL, CLOSED]), strict=True):
        answer = water_scenario(
            directory,
            lambda series, from_s, to_s: store.readings(series, from_s, to_s, limit=10_000),
            changes,
            at_s=begin_s,
            hours=24,
        )
        ScenarioLog(store).insert(
            Scenario(
                area_ids=answer.areas,
                kind="water",
                name=name,
                who="Wang Fang (key:1d5f0b93b0a1)",
                network_version=directory.version,
                at_s=begin_s,
                computing_s=0.4,
                inputs=SCENARIO
                if len(changes) == 1
                else SCENARIO | {"changes": [*SCENARIO["changes"], {"kind": "sluice", "link": LAST_REACH}]},
                result=answer.result,
            )
        )
