"""An operator's word over the API: limits move and come back, and all of it is on record."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from httpx import ASGITransport, AsyncClient

from ingest_service.storage.memory import MemoryStore
from tests.support.access import HEADERS, KEY, opened
from tests.support.kept import DIRECTORY, anomaly

if TYPE_CHECKING:
    from httpx import Response

WHO = f"Wang Fang (key:{KEY.split('_')[1]})"


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.enrol(DIRECTORY)
    store.record([anomaly()])
    return store


def ask(store: MemoryStore, *, anomaly_id: int = 1, **said: Any) -> Response:
    async def asked() -> Response:
        app = ASGITransport(opened(store), raise_app_exceptions=False)
        async with AsyncClient(transport=app, base_url="http://gateway", headers=HEADERS) as client:
            path = f"/v1/anomalies/{anomaly_id}/feedback"
            return await (client.post(path, json=said) if said else client.get(path))

    return asyncio.run(asked())


def test_a_false_alarm_moves_the_limits_and_its_withdrawal_moves_them_back(store: MemoryStore) -> None:
    assert ask(store).json() == {"items": [], "score_shift": 0.0}
    said = ask(store, verdict="false-alarm", note="有船经过")
    assert said.status_code == 200
    (one,) = said.json()["items"]
    assert (one["verdict"], one["who"], one["note"], one["stands"]) == (
        "false-alarm",
        WHO,
        "有船经过",
        True,
    )
    assert said.json()["score_shift"] == 0.5
    assert ask(store).json() == said.json()

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
    for said in unknown:
        assert ask(store, anomaly_id=99, **said).status_code == 404
    wrong: list[dict[str, Any]] = [
        {"verdict": "maybe"},
        {"verdict": "confirmed", "who": "somebody else"},
        {"verdict": "confirmed", "note": "x" * 2001},
    ]
    for said in wrong:
        assert ask(store, **said).status_code == 422
    assert store.feedback() == []
