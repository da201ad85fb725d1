"""Tests that each alert rule fires and stays quiet correctly on filled data, and that files and API agree."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from grafana_foundation_sdk.models.alerting import NotificationPolicy, Rule

from dashboards.alerting.alert_rules import ALERTS, build_alert_rules
from dashboards.alerting.contact_points import (
    build_contact_points,
    notification_route,
    with_notification_route,
)
from dashboards.generate import FOLDER
from dashboards.grafana_versions import COMMON_FEATURES, features_of
from dashboards.postgres_query import DATASOURCE_UID
from dashboards.provisioning_files import PLACEHOLDER_SETTINGS, provisioning_files, stack_files
from dashboards.settings import Settings
from tests.dashboards.conftest import BOARDS, DemoDatabase
from tests.support.grafana_macros import expand
from tests.support.grafana_provisioning import read_file
from tests.support.grafana_templates import AlertData, render

if TYPE_CHECKING:
    from dashboards.grafana_versions import GrafanaFeatures

NEWEST = features_of((12, 3, 3))
RULES = {one["uid"].removeprefix("towntwin-"): one for one in build_alert_rules(NEWEST)}
WITH_ROWS = [one.name for one in ALERTS if one.on_error == "KeepLast"]
DURATION = re.compile(r"\d+[smhd]")
# What makes a rule fire or quiet, inside a transaction that is rolled back.
ANOMALY = """
INSERT INTO anomaly (
    subject, site_id, detector, version, start, peak, score, severity, n_readings, state, reason_en, reason_zh
)
SELECT 'test', min(site_id), '{}', '1', now(), now(), 9, 3, 1, 'open', 'x', 'x' FROM site
"""
INCIDENT = """
INSERT INTO incident (
    area_id, area_ids, main_site_id, kind, cause, priority, severity, state, alarm_state, active, started,
    last, opened, opened_by
)
SELECT area_id, ARRAY[area_id], site_id, 'water', 'sewage', 1, 3, 'new', 'unacknowledged', true, now(),
now(), now(), 'x' FROM site ORDER BY site_id LIMIT 1
"""
FIRING = {
    "incident": INCIDENT,
    "severe": ANOMALY.format("residual"),
    "silent": ANOMALY.format("silence"),
    "lag": "UPDATE latest SET received = now() - interval '16 minutes'",
    "processes": "UPDATE heartbeat SET fault = 'broker' WHERE kind = 'ingest'",
    "letters": """INSERT INTO dead_letter (received, topic, payload, reason, detail)
        VALUES (now(), 't', '', 'r', 'd')""",
}
QUIET = {
    "incident": "UPDATE incident SET alarm_state = 'acknowledged'",
    "severe": "UPDATE anomaly SET state = 'closed', \"end\" = now() WHERE detector <> 'silence'",
    "silent": "UPDATE anomaly SET state = 'closed', \"end\" = now() WHERE detector = 'silence'",
    "lag": "UPDATE latest SET received = now() - interval '20 seconds'",
    "processes": "UPDATE heartbeat SET beat = now()",
    "letters": "UPDATE dead_letter SET received = now() - interval '1 hour'",
}


def values(filled: DemoDatabase, name: str, change: str, query: int = 0) -> list[dict[str, Any]]:
    """What a query of a rule answers after a change, as Grafana's role."""
    sql = RULES[name]["data"][query]["model"]["rawSql"]
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


@pytest.mark.parametrize("name", WITH_ROWS)
def test_fires(name: str, filled: DemoDatabase) -> None:
    above, _ = threshold(name)
    found = values(filled, name, FIRING[name])
    assert [one for one in found if one["value"] > above]


@pytest.mark.parametrize("name", WITH_ROWS)
def test_is_quiet_and_recovers(name: str, filled: DemoDatabase) -> None:
    """Quiet is below the recovery threshold, too; and every site keeps its row: nothing goes missing."""
    _, recovers_below = threshold(name)
    found = values(filled, name, QUIET[name])
    assert found
    assert all(one["value"] < recovers_below for one in found)
    assert len(found) == len(values(filled, name, FIRING[name]))


@pytest.mark.parametrize("name", WITH_ROWS)
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
    assert [query["refId"] for query in one["data"]] in (["A", "B"], ["A", "B", "C"])
    assert one["condition"] == "B"
    assert one["data"][0]["datasourceUid"] == DATASOURCE_UID
    assert one["data"][1]["model"]["expression"] == "A"
    assert DURATION.fullmatch(one["for"])
    assert DURATION.fullmatch(one["keep_firing_for"])
    assert one["noDataState"] in ("OK", "NoData", "Alerting", "KeepLast")
    assert one["execErrState"] in ("OK", "Error", "Alerting", "KeepLast")
    for query in one["data"]:
        sql = query["model"].get("rawSql", "")
        assert "$" not in sql, "an alert has no variables, and its own time instead of a dashboard's"


@pytest.mark.parametrize("name", RULES)
def test_messages_are_in_both_languages_and_name_the_row(name: str, filled: DemoDatabase) -> None:
    """Every language has its own text and link, without a gap where a label is missing."""
    notes = RULES[name]["annotations"]
    for row in values(filled, name, FIRING.get(name, "SELECT 1")):
        del row["value"]
        english, chinese = (render(notes[key], AlertData(row)) for key in ("summary", "summary_zh"))
        assert "[no value]" not in english + chinese
        assert not re.search(r"[\u4e00-\u9fff]", english)
        assert re.search(r"[\u4e00-\u9fff]", chinese)
        assert english.startswith(row["town_en"] if "town_en" in row else row.get("process", ""))
        assert chinese.startswith(row["town_zh"] if "town_zh" in row else row.get("process", ""))
    board = next(one for one in BOARDS.values() if one["uid"] == notes["__dashboardUid__"])
    assert int(notes["__panelId__"]) in [panel["id"] for panel in board["panels"] if panel["type"] != "row"]


@pytest.mark.parametrize("name", RULES)
def test_an_error_or_no_data_is_no_claim_about_a_place(name: str) -> None:
    """The rule of lag read "[no value]: no reading came" when its query failed."""
    labels = {
        "alertname": "DatasourceError",
        "rulename": "x",
        "ref_id": "A",
        "datasource_uid": DATASOURCE_UID,
    }
    data = AlertData(labels)
    notes = {key: render(text, data) for key, text in RULES[name]["annotations"].items()}
    assert "[no value]" not in "".join(notes.values())
    assert "no reading came" not in notes["summary"]
    assert "check the database" in notes["summary"]
    assert "请检查数据库" in notes["summary_zh"]
    for language, key in (("en", "link"), ("zh", "link_zh")):
        uid, _, query = notes[key].removeprefix("https://grafana.example/d/").partition("?")
        assert uid in {board["uid"] for board in BOARDS.values() if board["uid"].endswith(language)}
        assert query == "from=now-6h&to=now"


@pytest.mark.parametrize("external_url", ["https://grafana.example/ops", "https://grafana.example/ops/"])
@pytest.mark.parametrize("name", WITH_ROWS)
def test_a_link_opens_the_site_and_the_time(name: str, external_url: str, filled: DemoDatabase) -> None:
    rule = RULES[name]
    begins = values(filled, name, FIRING[name], 2) if len(rule["data"]) == 3 else []
    by_labels = {tuple(row[key] for key in row if key != "value"): row["value"] for row in begins}
    for row in values(filled, name, FIRING[name]):
        value = row.pop("value")
        c = {"C": by_labels[tuple(row.values())]} if begins else {}
        link = render(rule["annotations"]["link_zh"], AlertData(row, {"A": value, **c}, external_url))
        uid, _, query = link.removeprefix("https://grafana.example/ops/d/").partition("?")
        chosen = dict(part.split("=") for part in query.split("&"))
        board = next(one for one in BOARDS.values() if one["uid"] == uid)
        variables = {one["name"]: one for one in board["templating"]["list"]}
        assert {key.removeprefix("var-") for key in chosen if key.startswith("var-")} <= set(variables)
        if "site" in row and "site" in variables:
            offered = [
                one[-1]
                for one in filled.answer(expand(variables["site"]["query"], filled.on(f"{board_name(uid)}")))[
                    2
                ]
            ]
            assert chosen["var-site"] == row["site"]
            assert row["site"] in offered, "the dashboard shows this kind of site"
        assert chosen["to"] == "now"
        if begins and value:
            ((begin,),) = filled.answer("SELECT extract(epoch FROM now()) * 1000")[2]
            assert int(chosen["from"]) < float(begin) - 3_600_000 + 60_000
            assert int(chosen["from"]) > float(begin) - 5 * 86_400_000


def board_name(uid: str) -> str:
    return next(name for name, board in BOARDS.items() if board["uid"] == uid)


@pytest.mark.parametrize("features", [COMMON_FEATURES, NEWEST])
def test_a_failed_query_of_any_rule_is_an_alert(features: GrafanaFeatures) -> None:
    """An error looked like health: four of five rules kept their last state and nothing fired."""
    rules = {one["uid"].removeprefix("towntwin-"): one for one in build_alert_rules(features)}
    watched = rules["evaluation"]["data"][0]["model"]["rawSql"]
    for name, one in rules.items():
        if one["execErrState"] == "KeepLast":
            assert one["data"][0]["model"]["rawSql"] in watched, f"no alert if the query of {name} fails"
        else:
            assert one["execErrState"] in ("Error", "Alerting")
    assert rules["evaluation"]["execErrState"] == "Alerting"
    assert {
        one["noDataState"] for name, one in rules.items() if name not in ("severe", "silent", "incident")
    } == {"Alerting"}


BREAKAGES = {
    "incident": "DROP VIEW incident_view",
    "severe": "DROP VIEW anomaly_view CASCADE",
    "lag": "REVOKE SELECT ON latest_judged FROM towntwin_grafana",
    "processes": "REVOKE SELECT ON process_state FROM towntwin_grafana",
    "letters": "ALTER VIEW dead_letter_view RENAME COLUMN state TO other",
}


@pytest.mark.parametrize("broken", BREAKAGES)
def test_the_rule_of_evaluation_fails_with_each_other_query(broken: str, filled: DemoDatabase) -> None:
    assert [one["value"] for one in values(filled, "evaluation", "SELECT 1")] == [0.0]
    for name in (broken, "evaluation"):
        with pytest.raises(
            (
                psycopg.errors.InsufficientPrivilege,
                psycopg.errors.UndefinedObject,
                psycopg.errors.UndefinedTable,
                psycopg.errors.UndefinedColumn,
            )
        ):
            values(filled, name, BREAKAGES[broken])


def test_the_committed_files_are_what_the_code_writes() -> None:
    folder = Path(FOLDER).parent / "provisioning"
    made = provisioning_files()
    assert {name: (folder / name).read_text("utf-8") for name in made} == made, "run: python -m dashboards"


STACK = Settings(
    db_host="127.0.0.1:5433",
    db_name="town",
    db_user="reader",
    db_password="pa$$word$1${HOME}",  # noqa: S106 - a hard one, of no database
    db_sslmode="disable",
    webhook_url="http://hook/?a=$b",
    dingtalk_url="http://ding/?t=$t",
    emails=["a@b", "c$d@e"],
)


@pytest.mark.parametrize(
    ("text", "features"),
    [
        (provisioning_files()["alerting/rules.yaml"], COMMON_FEATURES),
        (stack_files(STACK, NEWEST, "/x")["alerting/rules.yaml"], NEWEST),
    ],
    ids=["committed", "of a stack"],
)
def test_rules_in_a_file_are_those_of_the_api_once_grafana_has_read_it(
    text: str, features: GrafanaFeatures
) -> None:
    """Annotations in files kept ``$$labels``: Grafana substitutes nothing in them."""
    (group,) = read_file(text, {"labels": "WRONG", "values": "WRONG"})["groups"]
    assert group["interval"] == "60s"
    for read, sent in zip(group["rules"], build_alert_rules(features), strict=True):
        assert read.pop("keepFiringFor") == sent["keep_firing_for"]
        assert read == {key: sent[key] for key in read}
        assert set(sent) - set(read) == {"orgID", "folderUID", "ruleGroup", "keep_firing_for"}


def test_committed_files_take_addresses_from_the_environment() -> None:
    files = provisioning_files()
    environ = {
        f"TOWNTWIN_GRAFANA_{key}": f"the {key}$"
        for key in (
            "WEBHOOK_URL",
            "DINGTALK_URL",
            "EMAILS",
            "DB_HOST",
            "DB_NAME",
            "DB_USER",
            "DB_PASSWORD",
            "DB_SSLMODE",
        )
    }
    for one in build_contact_points(PLACEHOLDER_SETTINGS):
        ((receiver,),) = [
            point["receivers"]
            for point in read_file(files[f"contact_points/{one['type']}.yaml"], environ)["contactPoints"]
        ]
        where = {"webhook": "url", "dingding": "url", "email": "addresses"}[one["type"]]
        assert receiver["settings"].pop(where).startswith("the ")
        assert receiver["settings"] == {key: value for key, value in one["settings"].items() if key != where}
    (source,) = read_file(files["datasources/towntwin.yaml"], environ)["datasources"]
    assert (source["url"], source["user"]) == ("the DB_HOST$", "the DB_USER$")
    assert (source["jsonData"]["database"], source["jsonData"]["sslmode"]) == (
        "the DB_NAME$",
        "the DB_SSLMODE$",
    )
    assert source["secureJsonData"] == {"password": "the DB_PASSWORD$"}
    assert "isDefault" not in source, "a second default ends the start of Grafana"


def test_files_of_a_stack_hold_its_settings_also_with_dollars_in_them() -> None:
    files = stack_files(STACK, NEWEST, "/srv/$x/json")
    (source,) = read_file(files["datasources/towntwin.yaml"])["datasources"]
    assert source["secureJsonData"] == {"password": STACK.db_password}
    assert (source["url"], source["user"], source["jsonData"]["database"]) == (
        "127.0.0.1:5433",
        "reader",
        "town",
    )
    assert source["jsonData"]["sslmode"] == "disable"
    (provider,) = read_file(files["dashboards/towntwin.yaml"])["providers"]
    assert provider["options"] == {"path": "/srv/$x/json"}
    (point,) = read_file(files["alerting/contact_points.yaml"])["contactPoints"]
    assert [one["settings"] for one in point["receivers"]] == [
        one["settings"] for one in build_contact_points(STACK)
    ]
    assert "alerting/policies.yaml" in files
    bare = stack_files(Settings(), NEWEST, "/x")
    assert set(bare) == {"datasources/towntwin.yaml", "dashboards/towntwin.yaml", "alerting/rules.yaml"}
    (source,) = read_file(bare["datasources/towntwin.yaml"], {"TOWNTWIN_GRAFANA_DB_PASSWORD": "p"})[
        "datasources"
    ]
    assert source["secureJsonData"] == {"password": "p"}


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
