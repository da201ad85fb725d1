"""Stopping is a designed path; what the log says is one object a line, and never what devices sent."""

from __future__ import annotations

import json
import re
import signal
from typing import TYPE_CHECKING

import pytest
from paho.mqtt.publish import single

from deploy.wiring import INTERRUPTED
from ingest_service.storage.model import LetterQuery
from tests.support.processes import running, wait_until
from tests.support.rig import WITHIN_S, Rig, wait_for_log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.services import MosquittoServer

pytestmark = pytest.mark.timeout(120)
MARKER = "marker-4711"


@pytest.fixture
def rig(timescale_dsn: str, mosquitto: MosquittoServer, tmp_path: Path) -> Iterator[Rig]:
    with Rig(tmp_path, timescale_dsn, mosquitto) as one:
        yield one


def finish_with_another(rig: Rig) -> None:
    """What is left is another process's."""
    rig.database_network.mend()
    ingest = rig.ingest("another")
    with running(ingest):
        rig.finish()
        assert ingest.stop() == 0
    rig.ledger()


def test_asked_to_stop_it_commits_what_it_holds(rig: Rig) -> None:
    ingest = rig.ingest()
    with running(ingest):
        rig.publish()
        assert ingest.stop() == 0
    log = ingest.log.read_text()
    assert "stopping" in log
    assert "ingest_stopped" in log
    finish_with_another(rig)


def test_a_second_signal_ends_it_at_once(rig: Rig) -> None:
    ingest = rig.ingest(TOWNTWIN_INGEST_STOP_GRACE_S="600")
    with running(ingest):
        rig.publish()
        rig.database_network.stall()
        ingest.process.send_signal(signal.SIGTERM)
        wait_for_log(ingest, "stopping")
        ingest.process.send_signal(signal.SIGTERM)
        assert ingest.process.wait(WITHIN_S) == INTERRUPTED
    finish_with_another(rig)


def test_the_database_away_the_grace_ends(rig: Rig) -> None:
    ingest = rig.ingest(TOWNTWIN_INGEST_STOP_GRACE_S="1")
    with running(ingest):
        rig.publish()
        rig.database_network.stall()
        assert ingest.stop() == 0
    finish_with_another(rig)


def test_the_log_is_an_object_a_line_and_keeps_what_devices_sent_to_itself(
    rig: Rig, mosquitto: MosquittoServer
) -> None:
    ingest = rig.ingest(TOWNTWIN_LOG_FORMAT="json")
    with running(ingest):
        rig.publish()
        single(
            "towntwin/v1/330483-d1/d1/data",
            f'{{"secret": "{MARKER}"}}',
            qos=1,
            hostname=mosquitto.host,
            port=mosquitto.port,
        )
        wait_until(lambda: bool(rig.store.dead_letters(LetterQuery())), within_s=WITHIN_S, what="a letter")
        rig.database_network.cut()
        rig.finish()
        assert ingest.stop() == 0
    lines = ingest.log.read_text().splitlines()
    keys = {key for line in lines for key in json.loads(line)}
    assert len(lines) > 5
    assert all(re.fullmatch("[a-z][a-z0-9_]*", key) for key in keys), keys
    assert MARKER not in ingest.log.read_text()
