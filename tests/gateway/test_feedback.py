"""An operator's word over the API: limits move and come back, and all of it is on record."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from httpx import ASGITransport, AsyncClient

from gateway.app import create_app
from ingest_service.storage.memory import MemoryStore
from tests.support.kept import DIRECTORY, anomaly

if TYPE_CHECKING:
    from httpx import Response


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.enrol(DIRECTORY)
    store.record([anomaly()])
    return store


def ask(store: MemoryStore, *, anomaly_id: int = 1, **said: Any) -> Response:
    async def asked() -> Response:
        app = ASGITransport(create_app(store, console=False), raise_app_exceptions=False)
        async with AsyncClient(transport=app, base_url="http://gateway") as client:
            path = f"/v1/anomalies/{anomaly_id}/feedback"
            return await (client.post(path, json=said) if said else client.get(path))

    return asyncio.run(asked())


def test_a_false_alarm_moves_the_limits_and_its_withdrawal_moves_them_back(store: MemoryStore) -> None:
    assert ask(store).json() == {"items": [], "score_shift": 0.0}
    said = ask(store, verdict="false-alarm", who="王芳", note="有船经过")
    assert said.status_code == 200
    (one,) = said.json()["items"]
    assert (one["verdict"], one["who"], one["note"], one["stands"]) == (
        "false-alarm",
        "王芳",
        "有船经过",
        True,
    )
    assert said.json()["score_shift"] == 0.5
    assert ask(store).json() == said.json()

    taken_back = ask(store, verdict="withdraw", who="李强").json()
    assert taken_back["score_shift"] == 0.0
    (one,) = taken_back["items"]
    assert (one["stands"], one["withdrawn_by"], one["withdrawn"][-1]) == (False, "李强", "Z")


def test_what_cannot_be_done_is_a_problem(store: MemoryStore) -> None:
    nothing = ask(store, verdict="withdraw", who="Li")
    assert (nothing.status_code, nothing.headers["content-type"]) == (409, "application/problem+json")
    assert "nothing stands of anomaly 1" in nothing.json()["detail"]
    unknown: list[dict[str, Any]] = [
        {},
        {"verdict": "confirmed", "who": "Li"},
        {"verdict": "withdraw", "who": "Li"},
    ]
    for said in unknown:
        assert ask(store, anomaly_id=99, **said).status_code == 404
    wrong: list[dict[str, Any]] = [
        {"verdict": "maybe", "who": "Li"},
        {"verdict": "confirmed", "who": ""},
        {"verdict": "confirmed"},
    ]
    for said in wrong:
        assert ask(store, **said).status_code == 422
    assert store.feedback() == []
