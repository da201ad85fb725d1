"""Tests operator feedback by API: limits move and return, and everything is on record."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from httpx import ASGITransport, AsyncClient

from ingest_service.storage.memory.store import MemoryStore
from tests.support.gateway_access import HEADERS, KEY, gateway_app
from tests.support.store_samples import DIRECTORY, anomaly

if TYPE_CHECKING:
    from httpx import Response

WHO = f"Wang Fang (key:{KEY.split('_')[1]})"


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.enrol(DIRECTORY)
    store.record_anomalies([anomaly()])
    return store


def ask(store: MemoryStore, *, anomaly_id: int = 1, **feedback_body: Any) -> Response:
    async def send() -> Response:
        app = ASGITransport(gateway_app(store), raise_app_exceptions=False)
        async with AsyncClient(transport=app, base_url="http://gateway", headers=HEADERS) as client:
            path = f"/v1/anomalies/{anomaly_id}/feedback"
            return await (client.post(path, json=feedback_body) if feedback_body else client.get(path))

    return asyncio.run(send())


def test_a_false_alarm_moves_the_limits_and_its_withdrawal_moves_them_back(store: MemoryStore) -> None:
    assert ask(store).json() == {"items": [], "score_shift": 0.0}
    feedback_body = ask(store, verdict="false-alarm", note="有船经过")
    assert feedback_body.status_code == 200
    (one,) = feedback_body.json()["items"]
    assert (one["verdict"], one["who"], one["note"], one["stands"]) == (
        "false-alarm",
        WHO,
        "有船经过",
        True,
    )
    assert feedback_body.json()["score_shift"] == 0.5
    assert ask(store).json() == feedback_body.json()

    taken_back = ask(store, verdict="withdraw").json()
    assert taken_back["score_shift"] == 0.0
    (one,) = taken_back["items"]
    assert (one["stands"], one["withdrawn_by"], one["withdrawn"][-1]) == (False, WHO, "Z")


def test_what_cannot_be_done_is_a_problem(store: MemoryStore) -> None:
    nothing = ask(store, verdict="withdraw")
    assert (nothing.status_code, nothing.headers["content-type"]) == (409, "application/problem+json")
    assert "nothing stands of anomaly 1" in nothing.json()["detail"]
    unknown: list[dict[str, Any]] = [
        {},
        {"verdict": "confirmed"},
        {"verdict": "withdraw"},
    ]
    for feedback_body in unknown:
        assert ask(store, anomaly_id=99, **feedback_body).status_code == 404
    wrong: list[dict[str, Any]] = [
        {"verdict": "maybe"},
        {"verdict": "confirmed", "who": "somebody else"},
        {"verdict": "confirmed", "note": "x" * 2001},
    ]
    for feedback_body in wrong:
        assert ask(store, **feedback_body).status_code == 422
    assert store.feedback() == []
