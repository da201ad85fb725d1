"""Tests that an agent killed at random, with a broker that is restarted, stores each reading exactly once.

`python -m benchmarks edge` runs the long form: 200 kills, 20 restarts, 100,000 readings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.agent_kills import run_agent_kills

if TYPE_CHECKING:
    from pathlib import Path

READINGS = 4_000


@pytest.mark.timeout(120)
def test_readings_survive_kills_of_the_agent_and_of_the_broker(
    timescale_dsn: str, mosquitto: Any, tmp_path: Path
) -> None:
    result = run_agent_kills(
        timescale_dsn, mosquitto, tmp_path, readings=READINGS, agent_kills=8, broker_restarts=2
    )
    assert result.taken == result.rows == READINGS
    assert result.rows_of_dead_letters == 0
