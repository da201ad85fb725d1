"""Tests that health is answered in time, and is true, while database or broker is frozen, and after it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import httpx
import pytest

from gateway.platform_health import PROCESSES_CACHE_S
from ingest_service.storage.postgres.migrate import migrate
from tests.support.platform_processes import WITHIN_S, PlatformProcesses
from tests.support.processes import running_processes, wait_until
from tests.support.throwaway_servers import frozen

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.throwaway_servers import MosquittoServer, PostgresServer

pytestmark = pytest.mark.timeout(300)
READYZ_WITHIN_S = 3.0
NOTICED_WITHIN_S = 8.0
FROZEN_S = 9.0  # longer than a process may go without a heartbeat
N_PROCESSES = 3


def test_frozen_servers_are_noticed_in_time_and_no_living_process_is_reported_as_ended(
    plain_dsn: str, plain_server: PostgresServer, mosquitto: MosquittoServer, tmp_path: Path
) -> None:
    migrate(plain_dsn)
    platform = PlatformProcesses(plain_dsn, mosquitto, tmp_path)
    with running_processes(platform.ingest, platform.service, platform.gateway):
        platform.wait_until_ready()

        with frozen(mosquitto.pid):
            platform.wait_for_reason("the broker does not answer", within_s=NOTICED_WITHIN_S)
        platform.wait_for_state("alive", ok=True, within_s=NOTICED_WITHIN_S)

        with frozen(plain_server.pid):
            ends_s = time.monotonic() + FROZEN_S
            time.sleep(PROCESSES_CACHE_S + 0.1)
            answer = httpx.get(f"http://127.0.0.1:{platform.port}/readyz", timeout=READYZ_WITHIN_S)
            assert answer.status_code == 503
            assert "the database does not answer" in answer.text
            code, printed = platform.doctor()
            assert code == 1
            assert "does not answer" in printed
            time.sleep(max(0.0, ends_s - time.monotonic()))
        assert _states_until_all_alive(platform) <= {"alive", "unknown", "stuck"}
        platform.wait_until_ready()

        plain_server.kill()
        platform.wait_for_reason("the database does not answer", within_s=READYZ_WITHIN_S)
        plain_server.start()
        assert _states_until_all_alive(platform) <= {"alive", "unknown", "stuck"}
        platform.wait_until_ready()


def _states_until_all_alive(platform: PlatformProcesses) -> set[str]:
    """Return every state that is reported of a process until each of them is alive again."""
    states: set[str] = set()

    def all_are_alive() -> bool:
        answer = platform.get("/v1/health")
        found = answer.json()["processes"] if answer is not None and answer.status_code == 200 else []
        states.update(one["state"] for one in found)
        return len(found) == N_PROCESSES and {one["state"] for one in found} == {"alive"}

    wait_until(all_are_alive, within_s=WITHIN_S, what="every process is alive")
    return states
