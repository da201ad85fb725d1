"""Tests that the dashboard's figures of alarm performance are those of the API and of the monthly report."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from analytics.incidents.performance import AlarmPerformance, alarm_performance
from dashboards.postgres_query import raw_sql
from ingest_service.storage.contract.incidents import IncidentQuery
from ingest_service.storage.postgres.incidents import Incidents
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.grafana_macros import expand

if TYPE_CHECKING:
    from tests.dashboards.conftest import DemoDatabase
    from tests.support.grafana_macros import PanelRequest

BOARD = "alarm_performance.en.json"
ROWS = 100_000


def computed(filled: DemoDatabase, request: PanelRequest, operators: int) -> AlarmPerformance:
    """The alarm performance of the same range as `/v1/incidents/performance` computes it."""
    from_s, to_s = request.start.timestamp(), request.end.timestamp()
    store = PostgresStore.open(filled.dsn)
    try:
        incidents = Incidents(store)
        found = incidents.found(IncidentQuery(to_s=to_s, limit=ROWS))
        return alarm_performance(
            [one for one in found if one.closed_s is None or one.closed_s >= from_s],
            incidents.history_between(from_s, to_s, limit=ROWS),
            from_s=from_s,
            to_s=to_s,
            operators=operators,
        )
    finally:
        store.close()


@pytest.mark.parametrize(("operators", "hours"), [(1, 26), (3, 96)])
def test_the_dashboard_shows_what_the_api_computes(operators: int, hours: int, filled: DemoDatabase) -> None:
    chosen = filled.on(BOARD)
    request = replace(
        chosen,
        start=chosen.end - timedelta(hours=hours),
        variables={**chosen.variables, "operators": [str(operators)]},
    )
    api = computed(filled, request, operators)

    def rows(query: str) -> list[dict[str, Any]]:
        names, _, found = filled.answer(expand(raw_sql(query, "en"), request))
        return [dict(zip(names, row, strict=True)) for row in found]

    assert rows("load_now") == [
        pytest.approx({
            "per_day": api.per_operator_day,
            "peak_load": api.peak_10min,
            "periods_above": api.periods_above_10,
            "flood_share": api.flood_share,
            "top_share": api.top_share,
        })
    ]  # fmt: skip
    assert rows("nuisance_now") == [
        {"chattering": api.chattering, "stale": api.stale, "standing": api.standing}
    ]
    assert min(api.annunciations, api.chattering, api.stale) > 0
    floods = [(one["since"].timestamp(), one["lasting"], one["sounded"]) for one in rows("floods")]
    assert floods == [
        pytest.approx((one.from_s, one.to_s - one.from_s, one.annunciations)) for one in reversed(api.floods)
    ]
    assert bool(floods) == (operators == 1), "three operators take 22 alarms in 10 min"
    assert [(one["site_id"], one["sounded"]) for one in rows("top_alarms")] == [
        (one.site_id, one.annunciations) for one in api.top
    ]
    assert {str(one["priority"]): one["of_all"] or 0 for one in rows("priorities")} == pytest.approx(
        api.priorities
    )
    assert max(one["load"] for one in rows("load_over_time")) <= api.peak_10min
    assert sum(one["load"] for one in rows("load_by_day")) * operators >= api.annunciations
