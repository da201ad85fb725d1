"""Four areas with one of everything in each, and keys of one of them for every role."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from analytics.service.assessing import assess
from analytics.service.settings import Settings as AnalyticsSettings
from gateway.access import keys
from gateway.access.principal import Role
from gateway.settings import Settings
from ingest_service.storage.batch import Batch
from ingest_service.storage.model import (
    AnomalyQuery,
    Area,
    Channel,
    DeadLetter,
    Device,
    DeviceStatus,
    Directory,
    LetterQuery,
    Node,
    Series,
    Site,
)
from tests.support.access import MemoryAccounts, opened
from tests.support.kept import anomaly, readings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from ingest_service.storage.accounts import ApiKey
    from ingest_service.storage.postgres import PostgresStore

OWN, BELOW, ABOVE, ABROAD = PLACES = ("own", "below", "above", "abroad")
PARENTS = {"above": None, "own": "above", "below": "own", "abroad": "above"}
MONTH = "2026-09"


class Place(NamedTuple):
    """What there is in an area."""

    site_id: str
    series_id: int
    anomaly_id: int
    letter_id: int
    key_id: str
    area: str
    month: str
    path: str


class World(NamedTuple):
    """A gateway over four areas, each with one of everything, and a key of one of them for each role."""

    app: FastAPI
    store: PostgresStore
    accounts: MemoryAccounts
    places: dict[str, Place]
    headers: dict[Role, dict[str, str]]


@cache
def made(role: Role) -> tuple[ApiKey, str]:
    """A key of a role, made once for all tests."""
    return keys.mint(MemoryAccounts(), name=role.word, role=role, area_id=OWN, created_by="tests")


def enrol(store: PostgresStore) -> None:
    """Put one of everything into each of four areas."""
    for place in ("above", "own", "below", "abroad"):
        store.enrol(directory(place))
    for number, place in enumerate(PLACES, 1):
        series_id = series_at(store, place)
        at: Any = {"site_id": f"site-{place}", "series_id": series_id, "device_id": f"device-{place}"}
        said = DeviceStatus(device_id=f"device-{place}", received_s=5.0, status={"online": True})
        fresh, found = readings(series_id, range(number)), anomaly(subject=place, **at, **across(place))
        store.commit(Batch(fresh=fresh, anomalies=[found], statuses=[said]))
    store.refresh_rollups(limit=1000)
    assess(store, AnalyticsSettings())


def across(place: str) -> dict[str, Any]:
    """What an anomaly shows of its neighbours, one of them elsewhere, as it was written before 0028."""
    near = [
        {"site_id": f"site-{one}", "way": "upstream", "lag_s": 3600.0, "quantity": "ph", "score": 77.25}
        for one in (ABROAD, BELOW, ABOVE)
    ]
    return {
        "evidence": {"neighbours": near, "of": [1], "deep": [{"was": {"device_id": f"device-{ABROAD}"}}]},
        "reason_en": f"foul water at {place} (pH down); it passed site-{ABROAD} about 1.0 h before",
        "reason_zh": f"{place}来水异常（pH值偏低）；约1.0小时前经过site-{ABROAD}",
    }


def directory(place: str) -> Directory:
    """What is enrolled in an area."""
    words: Any = {"en": "x", "zh": "x"}
    site = f"site-{place}"
    there: Any = {"lon": 1, "lat": 1}
    node: Any = {"node_id": f"node-{place}", "network": "river", "kind": "section", "site_id": site}
    return Directory(
        areas=[Area(area_id=place, parent=PARENTS[place], level="county", **words)],
        sites=[Site(site_id=site, area_id=place, kind="river_section", **there, en=site, zh=site)],
        devices=[Device(device_id=f"device-{place}", area_id=place)],
        series=[Series(site_id=site, quantity="ph")],
        channels=[Channel(device_id=f"device-{place}", name="ph", site_id=site, quantity="ph")],
        nodes=[Node(area_id=place, **there, **node, **words)],
    )


def series_at(store: PostgresStore, place: str) -> int:
    """The series of an area."""
    return next(one.series_id for one in store.directory().series if one.site_id == f"site-{place}")


def inhabited(store: PostgresStore) -> World:
    """A gateway on the four areas, with fresh letters, and keys that nobody has used."""
    accounts = MemoryAccounts()
    store.purge_letters(LetterQuery())
    store.commit(Batch(letters=[letter(place) for place in PLACES]))
    letters = {one.topic.split("/")[2]: one.letter_id for one in store.dead_letters(LetterQuery())}
    found = {one.site_id: one.anomaly_id for one in store.anomalies(AnomalyQuery())}
    places = {}
    for number, place in enumerate(PLACES, 1):
        key, _ = made(Role.VIEWER)
        key = msgspec.structs.replace(key, key_id=f"{number:012x}", area_id=place)
        accounts.create(key)
        site = f"site-{place}"
        places[place] = Place(
            site,
            series_at(store, place),
            found[site],
            letters[place],
            key.key_id,
            place,
            MONTH,
            f"Things('{site}')",
        )
    headers = {}
    for role in Role:
        key, text = made(role)
        accounts.create(key)
        headers[role] = {"Authorization": f"Bearer {text}"}
    app = opened(store, accounts=accounts, settings=Settings(requests_burst=10_000))
    return World(app, store, accounts, places, headers)


def letter(place: str) -> DeadLetter:
    """A dead letter of an area."""
    topic = f"towntwin/v1/{place}/device-{place}/data"
    return DeadLetter(received_s=1.0, topic=topic, payload=b"?", reason="unit", detail="x")
