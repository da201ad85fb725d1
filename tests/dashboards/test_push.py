"""Tests that a push updates a strict Grafana once and never overwrites manual changes unnoticed."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from rich.console import Console

from dashboards.alerting.alert_rules import ALERTS
from dashboards.alerting.contact_points import notification_route
from dashboards.generate import DASHBOARDS, dashboard_files
from dashboards.push import PushError, dashboard_push, push
from dashboards.push.grafana_connection import grafana_connection
from dashboards.settings import Settings
from deploy.__main__ import main
from tests.support.fake_grafana import TOKEN, FakeGrafana, serve_fake_grafana

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dashboards.push.change import GrafanaChange

BOARD = "towntwin-town-overview-zh"
RULE = "towntwin-lag"


@pytest.fixture(scope="module")
def server() -> Iterator[FakeGrafana]:
    """Provide a server; files of the same settings are generated once, as that takes most of a push."""
    generated: dict[str, dict[str, str]] = {}

    def generate_once(settings: Settings) -> dict[str, str]:
        key = repr(msgspec.structs.replace(settings, url=""))
        if key not in generated:
            generated[key] = dashboard_files(settings)
        return generated[key]

    with pytest.MonkeyPatch.context() as patched, serve_fake_grafana() as found:
        patched.setattr(dashboard_push, "dashboard_files", generate_once)
        yield found


@pytest.fixture(scope="module")
def after_first_push(server: FakeGrafana) -> dict[str, Any]:
    """What the server stores after a push to a new Grafana."""
    server.reset({})
    pushed(server)
    return server.state()


@pytest.fixture
def grafana(server: FakeGrafana) -> FakeGrafana:
    """Return a Grafana without any object of ours."""
    server.reset({})
    return server


@pytest.fixture
def filled(server: FakeGrafana, after_first_push: dict[str, Any]) -> FakeGrafana:
    """Return a Grafana to which everything was pushed once, and that has recorded no write since."""
    server.reset(after_first_push)
    server.writes.clear()
    return server


def settings(grafana: FakeGrafana) -> Settings:
    return Settings(
        url=grafana.url,
        token=TOKEN,
        webhook_url="http://hook/",
        dingtalk_url="http://ding/?token=secret",
        emails=["duty@town"],
        db_password="secret",  # noqa: S106 - of a data source that is never asked
    )


def pushed(
    grafana: FakeGrafana, *, dry_run: bool = False, force: bool = False
) -> tuple[list[GrafanaChange], str]:
    shown = io.StringIO()
    console = Console(file=shown, width=120)
    return push(settings(grafana), console, dry_run=dry_run, force=force), shown.getvalue()


def test_everything_is_there_after_the_first(grafana: FakeGrafana) -> None:
    made, shown = pushed(grafana)
    assert len(made) == 1 + 1 + len(dashboard_files()) + 3 + 1 + len(ALERTS)
    assert {one.verdict for one in made} == {"new"}
    assert set(grafana.boards) == {
        f"towntwin-{one.name.replace('_', '-')}-{language}" for one in DASHBOARDS for language in ("en", "zh")
    }
    assert {one["meta"]["folderUid"] for one in grafana.boards.values()} == set(grafana.folders)
    assert grafana.sources["towntwin-postgres"]["secureJsonData"] == {"password": "secret"}
    assert {one["provenance"] for one in grafana.rules.values()} == {""}, "they stay editable in Grafana"
    assert grafana.policies["routes"] == [notification_route()]
    assert "created" in shown


def test_the_second_writes_nothing(filled: FakeGrafana) -> None:
    assert pushed(filled)[0] == []
    assert filled.writes == []


VERSIONS = ["9.4.7", "9.5.21", "10.2.3", "11.6.0", "12.3.3"]


@pytest.mark.parametrize("version", VERSIONS)
def test_each_supported_version_gets_what_it_takes(version: str, grafana: FakeGrafana) -> None:
    """9.4 responded with status 500 to a missing rule, and refused ``KeepLast``: the push stopped."""
    grafana.become(version)
    made, shown = pushed(grafana)
    assert {one.verdict for one in made} == {"new"}
    assert "WARNING" not in shown
    assert len(grafana.rules) == len(ALERTS)
    keeps = grafana.behaves_as >= (10, 4, 1)
    expected = {
        one.name: "Alerting" if one.on_error == "Alerting" else "KeepLast" if keeps else "Error"
        for one in ALERTS
    }
    assert {
        uid.removeprefix("towntwin-"): one["execErrState"] for uid, one in grafana.rules.items()
    } == expected
    renamed = grafana.behaves_as >= (10, 2, 3)
    assert grafana.sources["towntwin-postgres"]["type"] == (
        "grafana-postgresql-datasource" if renamed else "postgres"
    )
    assert pushed(grafana)[0] == [], "the second push writes nothing"


@pytest.mark.parametrize("version", ["8.5.27", "13.1.0", ""])
def test_an_unknown_version_gets_a_warning_and_what_it_probably_takes(
    version: str, grafana: FakeGrafana
) -> None:
    if version:
        grafana.become(version)
    grafana.version = version
    made, shown = pushed(grafana)
    assert made
    assert f"WARNING: {f'Grafana {version}' if version else 'a Grafana that hides its version'}: " in shown
    assert "9.4 to 12" in shown


def test_an_upgraded_grafana_gets_the_new_rules_without_a_conflict(grafana: FakeGrafana) -> None:
    grafana.become("9.4.7")
    pushed(grafana)
    grafana.become("12.3.3")
    made, _ = pushed(grafana)
    assert {one.verdict for one in made} == {"ours"}
    assert {one.object_name.split()[0] for one in made} == {"alert"}
    assert grafana.sources["towntwin-postgres"]["type"] == "postgres", "an alias of the newer type"
    assert grafana.rules["towntwin-severe"]["execErrState"] == "KeepLast"
    assert pushed(grafana)[0] == []


def test_a_server_that_fails_is_not_taken_for_one_without_the_rule(grafana: FakeGrafana) -> None:
    grafana.fails_with = "database is locked"
    with pytest.raises(PushError, match=r"alert rule towntwin-severe: Grafana failed: .*database is locked"):
        pushed(grafana)
    assert grafana.writes == []


def test_versions_come_as_a_list_from_older_grafanas(grafana: FakeGrafana) -> None:
    grafana.as_page = False
    pushed(grafana)
    assert pushed(grafana)[0] == []


def test_a_dry_run_writes_nothing_and_shows_what_would_change(grafana: FakeGrafana) -> None:
    _, shown = pushed(grafana, dry_run=True)
    assert grafana.writes == []
    assert f"+ dashboard {BOARD}" in shown
    pushed(grafana)
    grafana.save_as_person(BOARD, title="My town")
    grafana.writes.clear()
    made, shown = pushed(grafana, dry_run=True)
    assert [one.object_name for one in made] == [f"dashboard {BOARD}"]
    assert '-  "title": "My town"' in shown
    assert '+  "title": "乡镇总览"' in shown
    assert grafana.writes == []


def test_what_an_older_push_left_is_brought_up_to_date(filled: FakeGrafana) -> None:
    kept = filled.boards[BOARD]["dashboard"]
    filled.store_dashboard(
        {**kept, "title": "Older"}, "towntwin push 0123456789abcdef", "sa-towntwin", "towntwin"
    )
    (one,) = pushed(filled)[0]
    assert one.verdict == "ours"
    assert filled.boards[BOARD]["dashboard"]["title"] == "乡镇总览"


def test_a_person_s_dashboard_is_not_overwritten_without_an_option(filled: FakeGrafana) -> None:
    filled.save_as_person(BOARD, message="wider", title="My town")
    filled.rules.pop(RULE)
    filled.writes.clear()
    with pytest.raises(PushError, match=rf"{BOARD}: ling saved version 2 of it \(wider\)"):
        pushed(filled)
    assert filled.writes == [], "not even what nobody had changed"
    pushed(filled, force=True)
    assert filled.boards[BOARD]["dashboard"]["title"] == "乡镇总览"
    assert RULE in filled.rules


def test_a_dashboard_stays_in_the_folder_that_a_person_moved_it_to(filled: FakeGrafana) -> None:
    filled.folders["mine"] = {"uid": "mine", "title": "Mine"}
    filled.boards[BOARD]["meta"]["folderUid"] = "mine"
    filled.save_as_person(BOARD, title="My town")
    filled.boards[BOARD]["meta"]["folderUid"] = "mine"
    pushed(filled, force=True)
    assert filled.boards[BOARD]["meta"]["folderUid"] == "mine"


def test_a_provisioned_dashboard_is_left_to_its_file(filled: FakeGrafana) -> None:
    filled.boards[BOARD]["meta"]["provisioned"] = True
    with pytest.raises(PushError, match="it comes from a provisioning file"):
        pushed(filled)


def test_a_person_s_rule_is_not_overwritten_without_an_option(filled: FakeGrafana) -> None:
    filled.rules[RULE] = {**filled.rules[RULE], "for": "1h"}
    with pytest.raises(PushError, match=f"alert rule {RULE}: its content is not what was pushed"):
        pushed(filled)
    pushed(filled, force=True)
    assert filled.rules[RULE]["for"] == "5m"


def test_a_label_that_a_person_added_to_a_rule_is_a_change(filled: FakeGrafana) -> None:
    filled.rules[RULE]["labels"] = {**filled.rules[RULE]["labels"], "team": "night"}
    with pytest.raises(PushError, match=RULE):
        pushed(filled)


def test_a_grafana_that_does_not_know_a_field_is_no_person(filled: FakeGrafana) -> None:
    """Grafana 11 has no keep_firing_for: it takes the rule, and tells it back without."""
    for rule in filled.rules.values():
        del rule["keep_firing_for"]
    assert pushed(filled)[0] == []


def test_other_routes_of_the_policy_stay(grafana: FakeGrafana) -> None:
    theirs = {"receiver": "pager", "object_matchers": [["team", "=", "net"]]}
    grafana.policies["routes"] = [theirs]
    pushed(grafana)
    assert grafana.policies["routes"] == [notification_route(), theirs]


@pytest.mark.parametrize("uid", ["towntwin-webhook", "towntwin-email"])
def test_a_contact_point_that_is_not_as_set_is_not_written_over(uid: str, filled: FakeGrafana) -> None:
    filled.contacts[uid]["settings"] = {**filled.contacts[uid]["settings"], "url": "x", "addresses": "x"}
    with pytest.raises(PushError, match=uid):
        pushed(filled)


def test_a_data_source_that_is_not_as_set_is_not_written_over(filled: FakeGrafana) -> None:
    filled.sources["towntwin-postgres"]["url"] = "elsewhere:5432"
    with pytest.raises(PushError, match="data source towntwin"):
        pushed(filled)
    pushed(filled, force=True)
    assert filled.sources["towntwin-postgres"]["url"] == "127.0.0.1:5432"


def test_dashboards_read_from_the_replica_and_alerts_from_the_database(grafana: FakeGrafana) -> None:
    """Locks, from which the state of a process is derived, are not on a replica."""
    console = Console(file=io.StringIO())
    with_replica = msgspec.structs.replace(settings(grafana), replica_host="replica:5432")
    push(with_replica, console)
    assert {uid: one["url"] for uid, one in grafana.sources.items()} == {
        "towntwin-postgres": "127.0.0.1:5432",
        "towntwin-replica": "replica:5432",
    }
    for uid, board in grafana.boards.items():
        text = json.dumps(board["dashboard"])
        assert ('"towntwin-replica"' in text) == ("platform" not in uid), uid
        assert ('"towntwin-postgres"' in text) == ("platform" in uid), uid
    assert "towntwin-replica" not in json.dumps(grafana.rules)
    grafana.writes.clear()
    assert push(with_replica, console) == []


def test_without_contact_points_the_policies_stay_as_they_are(grafana: FakeGrafana) -> None:
    push(Settings(url=grafana.url, token=TOKEN), Console(file=io.StringIO()))
    assert grafana.contacts == {}
    assert "routes" not in grafana.policies


def test_somebody_who_saves_while_we_push_is_not_written_over(filled: FakeGrafana) -> None:
    kept = filled.boards[BOARD]["dashboard"]
    filled.store_dashboard(
        {**kept, "title": "Older"}, "towntwin push 0123456789abcdef", "sa-towntwin", "towntwin"
    )
    with grafana_connection(settings(filled)) as connection:
        (one,) = [
            change
            for change in dashboard_push.dashboard_changes(connection, settings(filled))
            if change.verdict != "same"
        ]
        filled.save_as_person(BOARD, title="Just now")
        with pytest.raises(PushError, match="somebody changed it in the meantime: push again"):
            one.write()
    assert filled.boards[BOARD]["dashboard"]["title"] == "Just now"


def test_a_wrong_token_is_a_sentence(grafana: FakeGrafana, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboards", "push", "--url", grafana.url, "--token", "wrong"]) == 1
    assert "Grafana refuses the token" in capsys.readouterr().err


def test_no_listener_is_an_error_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboards", "push", "--url", "http://127.0.0.1:9", "--token", TOKEN]) == 1
    assert "Grafana does not answer" in capsys.readouterr().err


def test_no_token_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboards", "push"]) == 1
    assert "TOWNTWIN_GRAFANA_TOKEN is not set" in capsys.readouterr().err


def test_the_command_pushes(grafana: FakeGrafana, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboards", "push", "--url", grafana.url, "--token", TOKEN]) == 0
    assert "created" in capsys.readouterr().out
    assert len(grafana.boards) == len(dashboard_files())
