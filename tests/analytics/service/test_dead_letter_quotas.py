"""Tests that dead letters beyond a quota give an anomaly per device and day, visible in the device's area."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from analytics.service.dead_letter_quotas import DAY_S, report_letter_quotas
from analytics.service.settings import Settings
from gateway.auth.principal import Role
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import DeadLetter
from ingest_service.storage.postgres.dead_letters import MAX_DEAD_LETTERS_PER_DAY
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.asgi import send_request
from tests.support.four_areas import ABROAD, OWN, enrol, four_areas_gateway

if TYPE_CHECKING:
    from typing import Any

    from tests.support.four_areas import FourAreas

NOW_S = time.time() // DAY_S * DAY_S + 3600.0
SETTINGS = Settings()


def dead_letters(area: str, device: str, count: int) -> list[DeadLetter]:
    """Dead letters of today, each another one."""
    topic = f"towntwin/v1/{area}/{device}/data"
    return [
        DeadLetter(received_s=NOW_S, topic=topic, payload=b"%d" % at, reason="decode", detail="x")
        for at in range(count)
    ]


def shown_anomalies(world: FourAreas) -> dict[str, Any]:
    """The anomalies of quotas that a viewer of one town gets, by their reasons' first words."""
    params = {"detector": "dead_letters"}
    answer = send_request(
        world.app, "GET", "/v1/anomalies", headers=world.headers[Role.VIEWER], params=params
    )
    assert answer.status_code == 200, answer.text
    return {one["device_id"] or "not enrolled": one for one in answer.json()["items"]}


def test_dead_letters_beyond_a_quota_are_an_anomaly_until_the_day_ends(plain_dsn: str) -> None:
    migrate(plain_dsn)
    store = PostgresStore.open(plain_dsn)
    enrol(store)
    world = four_areas_gateway(store)
    report_letter_quotas(store, SETTINGS, now_s=NOW_S)
    assert shown_anomalies(world) == {}
    store.commit(Batch(dead_letters=dead_letters(OWN, f"device-{OWN}", MAX_DEAD_LETTERS_PER_DAY + 7)))
    store.commit(Batch(dead_letters=dead_letters(OWN, "invented-1", MAX_DEAD_LETTERS_PER_DAY + 1)))
    store.commit(Batch(dead_letters=dead_letters(OWN, "invented-2", MAX_DEAD_LETTERS_PER_DAY + 1)))
    store.commit(Batch(dead_letters=dead_letters(ABROAD, f"device-{ABROAD}", MAX_DEAD_LETTERS_PER_DAY + 1)))
    for _ in range(2):  # the second time nothing has changed
        report_letter_quotas(store, SETTINGS, now_s=NOW_S)
    found = shown_anomalies(world)
    assert set(found) == {f"device-{OWN}", "not enrolled"}, "invented names are one, and a town sees its own"
    mine = found[f"device-{OWN}"]
    assert (mine["state"], mine["severity"], mine["evidence"]["beyond"]) == ("open", 2, 7)
    assert "7 of device device-own" in mine["reason_en"]
    assert "replay those that are kept" in mine["reason_en"]
    assert "重放已保存的死信" in mine["reason_zh"]
    assert "2 names that are not enrolled" in found["not enrolled"]["reason_en"]
    revision = store.newest_revision() if hasattr(store, "newest_revision") else None
    report_letter_quotas(store, SETTINGS, now_s=NOW_S)
    assert revision is None or store.newest_revision() == revision
    report_letter_quotas(store, SETTINGS, now_s=NOW_S + DAY_S)
    assert {one["state"] for one in shown_anomalies(world).values()} == {"closed"}
    assert shown_anomalies(world)[f"device-{OWN}"]["anomaly_id"] == mine["anomaly_id"]
    store.close()
