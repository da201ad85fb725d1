"""Tests that prefetched and cached entities equal those of one query after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import READING

if TYPE_CHECKING:
    from tests.gateway.sensorthings.conftest import SensorThingsClient


def expanded(ask: SensorThingsClient, options: str) -> dict[int, dict[str, Any]]:
    found = ask.json("Datastreams", top=1000, expand=f"Observations({options})")["value"]
    return {one["@iot.id"]: one for one in found}


@pytest.mark.parametrize(
    "options",
    [
        "$orderby=phenomenonTime desc;$top=1",
        "$orderby=phenomenonTime desc;$top=3;$count=true",
        "$orderby=phenomenonTime;$top=2;$select=result",
        "$top=2;$count=true",
        "$top=0;$count=true",
        "$orderby=phenomenonTime desc;$top=1;$skip=1",
        "$filter=resultQuality/value ge 2;$top=1;$count=true",
    ],
)
def test_expansions_are_what_each_datastream_answers_itself(options: str, ask: SensorThingsClient) -> None:
    given = {name[1:]: value for name, _, value in (one.partition("=") for one in options.split(";"))}
    for series_id, one in list(expanded(ask, options).items())[::7]:
        alone = ask.json(f"Datastreams({series_id})/Observations", **given)
        assert one["Observations"] == alone["value"]
        assert one.get("Observations@iot.count") == alone.get("@iot.count")
        following = [
            page.get(name) for page, name in ((one, "Observations@iot.nextLink"), (alone, "@iot.nextLink"))
        ]
        assert (following[0] is None) == (following[1] is None)
        if following[0] and following[1]:
            assert ask.json(following[0])["value"] == ask.json(following[1])["value"]


def test_things_show_the_newest_of_each_of_their_datastreams(ask: SensorThingsClient) -> None:
    newest = "Observations($orderby=phenomenonTime desc;$top=1)"
    flat = {one: each["Observations"] for one, each in expanded(ask, newest[13:-1]).items()}
    things = ask.json("Things", top=1000, expand=f"Datastreams($expand={newest})")["value"]
    nested = {one["@iot.id"]: one["Observations"] for thing in things for one in thing["Datastreams"]}
    assert nested == flat


@pytest.mark.parametrize(("series_id", "rolled_up"), [(4, False), (3, True)])
def test_counts_are_right_before_and_after_they_are_rolled_up(
    series_id: int, *, rolled_up: bool, ask: SensorThingsClient
) -> None:
    """Also of late readings, of revised ones, and of what is older than retention."""
    newest = ask.json(f"Datastreams({series_id})/Observations", orderby="phenomenonTime desc", top=1)[
        "value"
    ][0]
    first_us = int(newest["@iot.id"].partition("-")[2])
    rows = np.zeros(5, READING)
    rows["series_id"], rows["quality"], rows["value"] = series_id, 1, 0.5
    rows["time_us"] = first_us - np.array([3, 40, 400, 4000, 40_000]) * 86_400_000_000 // 3 - 7
    rows["received_us"] = rows["time_us"]
    rows["expected"] = rows["spread"] = np.nan
    ask.store.commit(Batch(fresh=rows[:0], doubtful=rows))
    if rolled_up:
        while ask.store.refresh_rollups(limit=1_000_000):
            pass
    by_id = len(ask.ids(f"Datastreams({series_id})/Observations", top=1000, select="id"))
    assert ask.json(f"Datastreams({series_id})/Observations", count="true", top=0)["@iot.count"] == by_id
    with ask.store.transaction() as connection:
        connection.execute(
            "INSERT INTO retention (what, since) "
            "VALUES ('reading', date_trunc('day', now()) - interval '100 days')"
        )
    try:
        assert ask.json(f"Datastreams({series_id})/Observations", count="true", top=0)["@iot.count"] == by_id
    finally:
        with ask.store.transaction() as connection:
            connection.execute("DELETE FROM retention WHERE what = 'reading'")
    assert (
        sum(one["Observations@iot.count"] for one in expanded(ask, "$count=true;$top=0").values())
        == ask.json("Observations", count="true", top=0)["@iot.count"]
    )
