"""Tests the macro expander against Grafana's documentation of the PostgreSQL data source."""

from datetime import UTC, datetime

import pytest

from tests.support.grafana_macros import MacroError, PanelRequest, expand, fill_mode, filled_series

PANEL = PanelRequest(
    datetime(2018, 4, 12, 18, 0, tzinfo=UTC),
    datetime(2018, 4, 12, 18, 5, tzinfo=UTC),
    variables={"one": ["a"], "many": ["a", "b'c"], "chosen": ["only"], "quoted": ["b'c"]},
    several=frozenset({"many", "chosen"}),
)
SPAN = "BETWEEN '2018-04-12T18:00:00Z' AND '2018-04-12T18:05:00Z'"


@pytest.mark.parametrize(
    ("sql", "expanded"),
    [
        ("$__time(time_column)", 'time_column AS "time"'),
        ("$__timeEpoch(time_column)", 'extract(epoch from time_column) as "time"'),
        ("WHERE $__timeFilter(time_column)", f"WHERE time_column {SPAN}"),
        ("$__timeFrom()", "'2018-04-12T18:00:00Z'"),
        ("$__timeTo()", "'2018-04-12T18:05:00Z'"),
        ("$__timeGroup(t,'5m') AS x", "floor(extract(epoch from t)/300)*300 AS x"),
        ("SELECT $__timeGroup(t, '5m'), v", 'SELECT floor(extract(epoch from t)/300)*300 AS "time", v'),
        ("$__timeGroupAlias(t,'1h')", 'floor(extract(epoch from t)/3600)*3600 AS "time"'),
        ("$__timeGroup(t,'5m', NULL)", "floor(extract(epoch from t)/300)*300"),
        ("$__unixEpochFilter(t)", "t >= 1523556000 AND t <= 1523556300"),
        ("$__unixEpochFrom() $__unixEpochTo()", "1523556000 1523556300"),
        ("$__unixEpochGroup(t,'5m')", "floor((t)/300)*300"),
        ("$__unixEpochGroupAlias(t,'5m')", 'floor((t)/300)*300 AS "time"'),
        ("$__timeGroupAlias(t, $__interval)", 'floor(extract(epoch from t)/300)*300 AS "time"'),
        ("$__interval_ms ${__interval}", "300000 5m"),
        ("IN (${many:sqlstring})", "IN ('a','b''c')"),
        ("IN (${many})", "IN ('a','b''c')"),
        ("${many:csv} $one ${one:sqlstring}", "a,b'c a 'a'"),
        ("IN ($many)", "IN ('a','b''c')"),
        ("IN ($chosen)", "IN ('only')"),
        ("= '$quoted'", "= 'b''c'"),
        ("${many:raw}", "a,b'c"),
        ("${many:singlequote}", "'a','b\\'c'"),
        ("${many:doublequote}", '"a","b\'c"'),
        ("$__unixEpochNanoFilter(t)", "t >= 1523556000000000000 AND t <= 1523556300000000000"),
        ("$__unixEpochNanoFrom() $__unixEpochNanoTo()", "1523556000000000000 1523556300000000000"),
        ("ORDER BY $__timeGroup(t,'5m'))", "ORDER BY floor(extract(epoch from t)/300)*300)"),
        ("f(t, $__interval_ms)", "f(t, 300000)"),
        ("$__timeGroup(t,'500ms')", "floor(extract(epoch from t)/0.5)*0.5"),
        ("$__timeGroup(t,1h)", "floor(extract(epoch from t)/3600)*3600"),
    ],
)
def test_documented_cases(sql: str, expanded: str) -> None:
    assert expand(sql, PANEL) == expanded


def test_groups_become_time_buckets_with_a_timescale_data_source() -> None:
    panel = PanelRequest(PANEL.start, PANEL.end, timescale=True)
    assert expand("$__timeGroup(t,'5m')", panel) == "time_bucket('300.000s',t)"


@pytest.mark.parametrize("sql", ["$__nothing(x)", "$__timeGroup(t)", "$__timeGroup(t,'5x')", "$unknown"])
def test_wrong_ones_are_refused(sql: str) -> None:
    with pytest.raises(MacroError):
        expand(sql, PANEL)


@pytest.mark.parametrize(
    ("sql", "mode"),
    [
        ("$__timeGroup(t,'1m')", None),
        ("$__timeGroup(t,'1m',previous)", "previous"),
        ("$__timeGroup(t,'1m',0)", "0"),
    ],
)
def test_fill_modes(sql: str, mode: str | None) -> None:
    assert fill_mode(sql) == mode


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("NULL", [None, 1.0, None, None, 5.0, None]),
        ("previous", [None, 1.0, 1.0, 1.0, 5.0, 5.0]),
        ("0", [0.0, 1.0, 0.0, 0.0, 5.0, 0.0]),
        ("-1.5", [-1.5, 1.0, -1.5, -1.5, 5.0, -1.5]),
    ],
)
def test_missing_times_are_filled(mode: str, expected: list[float | None]) -> None:
    begin = PANEL.start.timestamp()
    rows: dict[float, float | None] = {begin + 60: 1.0, begin + 240: 5.0}
    found = filled_series(rows, f"SELECT $__timeGroupAlias(t,'1m',{mode}), v", PANEL)
    assert list(found) == [begin + 60 * n for n in range(6)]
    assert list(found.values()) == expected


def test_nothing_is_filled_without_a_mode_and_a_wrong_one_is_refused() -> None:
    rows: dict[float, float | None] = {0.0: 1.0}
    assert filled_series(rows, "$__timeGroup(t,'1m')", PANEL) == rows
    with pytest.raises(MacroError, match="error parsing fill value zero"):
        filled_series(rows, "$__timeGroup(t,'1m',zero)", PANEL)
