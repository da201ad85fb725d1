"""Tests that `/readyz`, `/v1/health` and doctor report the failures of real processes."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.mqtt_test_device import MqttTestDevice, pack
from tests.support.platform_processes import SHOWN_WITHIN_S, WITHIN_S, PlatformProcesses
from tests.support.processes import PlatformProcess, running_processes, wait_until
from tests.support.store_samples import DIRECTORY

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)
DATA = "towntwin/v1/330483-d1/d1/data"


def test_health_is_true_whatever_is_done_to_the_processes(
    timescale_dsn: str, mosquitto: Any, tmp_path: Path
) -> None:
    migrate(timescale_dsn)
    platform = PlatformProcesses(timescale_dsn, mosquitto, tmp_path)
    ingest, service = platform.ingest, platform.service
    with running_processes(ingest, service, platform.gateway):
        platform.wait_until_ready()
        for kind in ("ingest", "service", "gateway"):
            platform.wait_for_state("alive", ok=True, kind=kind, within_s=WITHIN_S)
        code, printed = platform.doctor()
        assert code == 0, printed
        assert "ok   process: ingest main is alive" in printed
        assert "ok   process: a reading published now would be stored and judged" in printed

        ingest.process.send_signal(signal.SIGSTOP)
        platform.wait_for_state("stuck", ok=False, within_s=SHOWN_WITHIN_S + 1)
        assert "connected to the database and does not report" in platform.not_ready_reason()
        ingest.process.send_signal(signal.SIGCONT)
        platform.wait_until_ready()

        service.kill()  # absent after 8 s, in which the next steps take place
        mosquitto.kill()
        platform.wait_for_reason("the broker does not answer")
        assert platform.state("ingest") == ("stuck", False)
        mosquitto.start()
        platform.wait_until_ready()

        platform.set_read_only("on")
        platform.wait_for_reason("takes no writes", within_s=2 * SHOWN_WITHIN_S)
        platform.set_read_only("off")
        platform.wait_until_ready()

        platform.wait_for_state("absent", ok=True, kind="service", within_s=WITHIN_S)

        ingest.kill()
        killed_s = time.monotonic()
        platform.wait_for_reason("ingest main is restarting", within_s=6.0)
        platform.wait_for_state("absent", ok=False, within_s=SHOWN_WITHIN_S - (time.monotonic() - killed_s))
        assert "was not started again" in platform.not_ready_reason()
        code, printed = platform.doctor()
        assert code == 1
        assert "FAIL process: ingest main is absent" in printed
        assert "FAIL process: service analytics is absent" in printed
        assert "FAIL process: a reading published now would not be stored and judged" in printed

        ingest.start()
        platform.wait_until_ready()
        assert platform.state("ingest") == ("restarting", True), "it works, and was restarted a moment ago"
        with MqttTestDevice(mosquitto, DATA) as device:
            device.send(pack("ph", "pH", {time.time() - 10: 7.5}))
            wait_until(
                lambda: platform.get("/v1/health").json()["readings"] == 1,  # type: ignore[union-attr]
                within_s=WITHIN_S,
                what="what was ready has stored it",
            )
        assert ingest.stop() == 0
        platform.wait_for_reason("no such process reports to this database")


def test_ingest_without_a_compiled_judge_is_not_stuck_for_want_of_a_broker(
    timescale_dsn: str, mosquitto: Any, tmp_path: Path
) -> None:
    """While the compiler ran, the reason was "the broker does not answer", or that the loop hangs."""
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn)
    store.enrol(DIRECTORY)
    environ = {"TOWNTWIN_DSN": timescale_dsn, "TOWNTWIN_BROKER": mosquitto.url}
    log = tmp_path / "ingest.log"
    # another level of optimisation: the code is not what another test has compiled
    uncached = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "NUMBA_OPT": "1"}
    ingest = PlatformProcess("ingest", log=log, **uncached, **environ)
    with running_processes(ingest), MqttTestDevice(mosquitto, DATA) as device:
        wait_until(lambda: "subscribed" in log.read_text(), within_s=WITHIN_S, what="it has a session")
        begin_s = time.time() - 86_400
        device.send(pack("ph", "pH", {begin_s + 60 * number: 7.5 for number in range(100)}))

        def states() -> set[tuple[str, str]]:
            return {(one.state, one.why) for one in store.processes() if one.kind == "ingest"}

        wait_until(
            lambda: ("restarting", "compiling") in states(), within_s=WITHIN_S, what="the reason shows"
        )
    store.close()
