"""Tests that each alert rule fires and stays quiet correctly on filled data, and that files and API agree."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from grafana_foundation_sdk.models.alerting import NotificationPolicy, Rule

from dashboards.alerting.alert_rules import ALERTS, build_alert_rules
from dashboards.alerting.contact_points import (
    build_contact_points,
    notification_route,
    with_notification_route,
)
from dashboards.alerting.provisioning import PLACEHOLDER_SETTINGS, provisioning_files
from dashboards.generate import FOLDER
from dashboards.postgres_query import DATASOURCE_UID
from dashboards.settings import Settings
from tests.dashboards.conftest import BOARDS, DemoDatabase

RULES = {one["uid"].removeprefix("towntwin-"): one for one in build_alert_rules()}
DURATION = re.compile(r"\d+[smhd]")
# What makes a rule fire or quiet, inside a transaction that is rolled back.
ANOMALY = """
INSERT INTO anomaly (
    subject, site_id, detector, version, start, peak, score, severity, n_readings, state, reason_en, reason_zh
)
SELECT 'test', min(site_id), '{}', '1', now(), now(), 9, 3, 1, 'open', 'x', 'x' FROM site
"""
FIRING = {
    "severe": ANOMALY.format("residual"),
    "silent": ANOMALY.format("silence"),
    "lag": "UPDATE latest SET received = now() - interval '16 minutes'",
    "processes": "UPDATE heartbeat SET fault = 'broker' WHERE kind = 'ingest'",
    "letters": """INSERT INTO dead_letter (received, topic, payload, reason, detail)
        VALUES (now(), 't', '', 'r', 'd')""",
}
QUIET = {
    "severe": "UPDATE anomaly SET state = 'closed', \"end\" = now() WHERE detector <> 'silence'",
    "silent": "UPDATE anomaly SET state = 'closed', \"end\" = now() WHERE detector = 'silence'",
    "lag": "UPDATE latest SET received = now() - interval '20 seconds'",
    "processes": "UPDATE heartbeat SET beat = now()",
    "letters": "UPDATE dead_letter SET received = now() - interval '1 hour'",
}


def values(filled: DemoDatabase, name: str, change: str) -> list[dict[str, Any]]:
    """What a rule's query answers after a change, as Grafana's role."""
    sql = RULES[name]["data"][0]["model"]["rawSql"]
    with psycopg.connect(filled.dsn) as connection:
        connection.execute(change.encode())
        connection.execute("SET LOCAL ROLE towntwin_grafana")
        cursor = connection.execute(sql.encode())
        assert cursor.description is not None
        names = [one.name for one in cursor.description]
        found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        connection.rollback()
    return found


def threshold(name: str) -> tuple[float, float]:
    (condition,) = RULES[name]["data"][1]["model"]["conditions"]
    assert (condition["evaluator"]["type"], condition["unloadEvaluator"]["type"]) == ("gt", "lt")
    return condition["evaluator"]["params"][0], condition["unloadEvaluator"]["params"][0]


@pytest.mark.parametrize("name", RULES)
def test_fires(name: str, filled: DemoDatabase) -> None:
    above, _ = threshold(name)
    found = values(filled, name, FIRING[name])
    assert [one for one in found if one["value"] > above]


@pytest.mark.parametrize("name", RULES)
def test_is_quiet_and_recovers(name: str, filled: DemoDatabase) -> None:
    """Quiet is below the recovery threshold, too; and every site keeps its row: nothing goes missing."""
    _, recovers_below = threshold(name)
    found = values(filled, name, QUIET[name])
    assert found
    assert all(one["value"] < recovers_below for one in found)
    assert len(found) == len(values(filled, name, FIRING[name]))


@pytest.mark.parametrize("name", RULES)
def test_one_number_and_labels_that_name_a_row(name: str, filled: DemoDatabase) -> None:
    """What Grafana asks of a table without time: one number column, words for labels, no two rows alike."""
    found = values(filled, name, QUIET[name])
    assert all(isinstance(one.pop("value"), float) for one in found)
    assert all(isinstance(word, str) for one in found for word in one.values())
    assert len({tuple(one.items()) for one in found}) == len(found)
    assert "area" in found[0]


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_what_grafana_documents(name: str) -> None:
    one = RULES[name]
    assert Rule.from_json({**one, "data": []}).uid == one["uid"]
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", one["uid"])
    assert [query["refId"] for query in one["data"]] == ["A", "B"]
    assert one["condition"] == "B"
    assert one["data"][0]["datasourceUid"] == DATASOURCE_UID
    assert one["data"][1]["model"]["expression"] == "A"
    assert DURATION.fullmatch(one["for"])
    assert DURATION.fullmatch(one["keep_firing_for"])
    assert one["noDataState"] in ("OK", "NoData", "Alerting", "KeepLast")
    assert one["execErrState"] in ("OK", "Error", "Alerting", "KeepLast")
    assert "$__" not in one["data"][0]["model"]["rawSql"], "an alert has its own time, not a dashboard's"


@pytest.mark.parametrize("name", RULES)
def test_messages_speak_both_languages_and_name_labels_that_there_are(
    name: str, filled: DemoDatabase
) -> None:
    notes = RULES[name]["annotations"]
    assert re.search(r"[\u4e00-\u9fff]", notes["summary_zh"])
    assert not re.search(r"[\u4e00-\u9fff]", notes["summary"])
    labels = set(re.findall(r"\$labels\.(\w+)", notes["summary"] + notes["summary_zh"]))
    assert labels <= set(values(filled, name, QUIET[name])[0])
    board = next(one for one in BOARDS.values() if one["uid"] == notes["__dashboardUid__"])
    assert int(notes["__panelId__"]) in [panel["id"] for panel in board["panels"] if panel["type"] != "row"]


def test_only_the_rule_of_lag_speaks_when_the_database_is_away() -> None:
    assert {one.name: (one.no_data, one.on_error) for one in ALERTS} == {
        "severe": ("OK", "KeepLast"),
        "silent": ("OK", "KeepLast"),
        "lag": ("Alerting", "Alerting"),
        "processes": ("OK", "KeepLast"),
        "letters": ("OK", "KeepLast"),
    }


def test_the_committed_files_are_what_the_code_writes() -> None:
    folder = Path(FOLDER).parent / "provisioning"
    made = provisioning_files()
    assert {name: (folder / name).read_text("utf-8") for name in made} == made, "run: python -m dashboards"


def test_files_say_the_same_as_the_api_once_grafana_has_put_in_its_variables() -> None:
    (group,) = yaml.safe_load(provisioning_files()["alerting/rules.yaml"])["groups"]
    assert group["interval"] == "60s"
    for written, sent in zip(group["rules"], build_alert_rules(), strict=True):
        undone = undoubled(written)
        assert undone.pop("keepFiringFor") == sent["keep_firing_for"]
        assert undone == {key: sent[key] for key in undone}
    for one in build_contact_points(PLACEHOLDER_SETTINGS):
        text = provisioning_files()[f"contact_points/{one['type']}.yaml"]
        assert "$TOWNTWIN_GRAFANA_" in text
        assert "$$TOWNTWIN" not in text


def undoubled(value: Any) -> Any:
    if isinstance(value, str):
        assert "$" not in value.replace("$$", "")
        return value.replace("$$", "$")
    if isinstance(value, dict):
        return {key: undoubled(one) for key, one in value.items()}
    return [undoubled(one) for one in value] if isinstance(value, list) else value


def test_contact_points_are_those_that_are_set() -> None:
    assert build_contact_points(Settings()) == []
    every = build_contact_points(
        Settings(webhook_url="http://a/", dingtalk_url="http://b/", emails=["x@y", "z@y"])
    )
    assert [one["type"] for one in every] == ["webhook", "dingding", "email"]
    assert every[2]["settings"]["addresses"] == "x@y;z@y"
    assert {one["name"] for one in every} == {notification_route()["receiver"]}


def test_the_policy_keeps_what_others_routed() -> None:
    theirs = {"receiver": "pager", "object_matchers": [["team", "=", "net"]]}
    tree = {"receiver": "grafana-default-email", "routes": [theirs]}
    once = with_notification_route(tree)
    assert once["routes"] == [notification_route(), theirs]
    assert with_notification_route(once) == once
    assert NotificationPolicy.from_json(once).receiver == "grafana-default-email"
