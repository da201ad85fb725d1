"""Tests the forms of the console: grid cells, teams, rosters, channels, own preferences, enrolment."""

from __future__ import annotations

import html
import json
import re
import secrets
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from deploy import demo
from edge.wire.federation import CommandResult
from gateway.auth import api_keys
from gateway.auth.principal import Role
from gateway.console import translations
from ingest_service.storage.contract.federation import ForwarderIdentity
from ingest_service.storage.contract.federation_commands import CommandEffect, IssuedCommand
from ingest_service.storage.contract.notifications import NotificationQuery
from ingest_service.storage.postgres.api_keys import ApiKeyStore
from ingest_service.storage.postgres.duty import DutyStore
from ingest_service.storage.postgres.federated_rows import FederatedRows
from ingest_service.storage.postgres.federation_commands import FederationCommands
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.notifications import NotificationStore
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.chinese_texts import english_in
from tests.support.console import LANGUAGES, serve_console
from tests.support.console_pages import serious_findings, shown_texts, sign_in, wait_for_map
from tests.support.federated_towns import add_example_town
from tests.support.html_forms import form_of
from tests.support.process_heartbeats import alive
from tests.support.scenario_examples import BRIDGE, LAST_REACH, ROAD
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.console.translations import Language
    from tests.support.throwaway_servers import PostgresServer

AREA = "330483-d1"
TEAM = f"{AREA}-water"
SQUARE = [[120.6, 30.6], [120.61, 30.6], [120.61, 30.61], [120.6, 30.61], [120.6, 30.6]]
BOW_TIE = [[120.6, 30.6], [120.61, 30.61], [120.61, 30.6], [120.6, 30.61], [120.6, 30.6]]
FORM_PAGES = (
    "settings",
    "settings/preferences",
    "settings/duty",
    f"settings/team?id={TEAM}",
    f"settings/roster?id={TEAM}",
    "settings/cells",
    "settings/networks",
    f"settings/cell?id={AREA}-g1",
    "settings/channels",
    "shift",
    "settings/channel?id=robot",
    "enrolment",
    "settings/commands",
    "scenarios?a=1&b=2",
    "scenarios?a=3",
    "placement?sensors=6&existing=compete",
)


class FormsConsole(NamedTuple):
    """The console on a database: its address, its store, and a key of each role."""

    base_url: str
    store: PostgresStore
    keys: dict[str, str]

    def client(self, who: str, language: str = "en") -> httpx.Client:
        """A browser without scripts, signed in."""
        cookies = httpx.post(f"{self.base_url}/login", json={"key": self.keys[who]}).cookies
        return httpx.Client(
            base_url=self.base_url,
            cookies=cookies,
            headers={"Origin": self.base_url, "Accept-Language": language},
            timeout=30,
        )


@pytest.fixture(scope="module")
def console(plain_server: PostgresServer) -> Iterator[FormsConsole]:
    """The gateway on a port over a real database with the demo's directory and duty, without readings."""
    with fresh_database(plain_server) as dsn:
        migrate(dsn)
        store = PostgresStore.open(dsn)
        store.enrol(demo.directory())
        add_example_town(store)  # commands are sent to it
        duty, plan = DutyStore(store), demo.duty_plan()
        duty.replace_cells(plan.cells)
        for team in plan.teams:
            duty.replace_team(team)
        for roster in plan.rosters:
            duty.replace_roster(roster)
        keys = {
            role.role_name: api_keys.create_key(
                ApiKeyStore(store),
                name=f"Person {role.value}",
                role=role,
                team_id=TEAM if role is Role.TEAM_MEMBER else None,
                created_by="tests",
            )[1]
            for role in Role
        }
        with alive(store, every_s=0.5):
            for address in serve_console(store, accounts=None):
                made = FormsConsole(address.partition("/login")[0], store, keys)
                with made.client("administrator") as one:
                    channel = {"id": "robot", "is_new": "1", "kind": "dingtalk", "url_secret": "water-robot"}
                    names = {"area_id": AREA, "en": "Robot", "zh": "机器人", "enabled": "1"}
                    answer = one.post("/console/settings/channel", data=channel | names)
                    assert answer.status_code == 303, answer.text
                    for name, targets in (("甲", [BRIDGE, ""]), ("乙", [BRIDGE, LAST_REACH])):
                        answer = one.post("/console/scenarios", data=spill_and_sluice(name, targets))
                        assert answer.status_code == 303, answer.text
                    for name, kind in (("丁", "road_closure"), ("戊", "lane_closure")):
                        form = spill_and_sluice(name, [ROAD, ""]) | {"kind": [kind, "spill"]}
                        form |= {"amount": ["1", ""], "start": ["60", ""], "duration": ["90", ""]}
                        form |= {"at": "2026-11-20T06:00", "hours": "6"}
                        answer = one.post("/console/scenarios", data=form)
                        assert answer.status_code == 303, answer.text
                yield made
        store.close()


def spill_and_sluice(name: str, targets: list[str], amount: str = "50") -> dict[str, Any]:
    """The form of a spill and of a closed sluice; without a place, a change is left out."""
    both = {"kind": ["spill", "sluice"], "target": targets, "amount": [amount, "0"]}
    return {
        "name": name,
        "hours": "24",
        **both,
        **{field: ["", ""] for field in ("catchment", "start", "duration")},
    }


def text(key: str, language: Language = "en", *values: object) -> str:
    """A text of the console, as HTML has it."""
    return html.escape(translations.translate(key, language).format(*values), quote=True)


def test_a_team_is_edited_and_keeps_what_was_not_touched(console: FormsConsole) -> None:
    with console.client("engineer") as one:
        before = {row["team_id"]: row for row in one.get("/v1/teams").json()}[TEAM]
        address = "/console/settings/team"
        form = form_of(one.get(address, params={"id": TEAM}).text, address)
        assert one.post(address, data=form).status_code == 303
        assert {row["team_id"]: row for row in one.get("/v1/teams").json()}[TEAM] == before
        form["member_id"][2], form["member_name"][2] = "new-person", "新人"
        form["coverage_cell"][1], form["coverage_kind"][1], form["coverage_rank"][1] = f"{AREA}-g4", "", "3"
        form["channels"] = ["robot"]
        assert one.post(address, data=form).headers["location"] == "/console/settings/duty?done=saved"
        after = {row["team_id"]: row for row in one.get("/v1/teams").json()}[TEAM]
        assert [row["member_id"] for row in after["members"]] == [
            *(row["member_id"] for row in before["members"]),
            "new-person",
        ]
        assert after["coverage"][1] == {"cell_id": f"{AREA}-g4", "kind": None, "rank": 3}
        assert after["channels"] == ["robot"]
        assert "新人" in one.get("/console/settings/duty").text


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_refused_form_is_explained_and_keeps_what_was_typed(
    console: FormsConsole, language: Language
) -> None:
    with console.client("administrator", language) as one:
        address = "/console/settings/team"
        form = form_of(one.get(address, params={"id": TEAM}).text, address)
        form["member_email"][0] = "no address"
        answer = one.post(address, data=form)
        assert answer.status_code == 422
        email = text("refused_field", language, text("channel_email", language), text("rule_email", language))
        assert email in answer.text
        assert 'value="no address"' in answer.text
        cell = {"id": "bow-tie", "is_new": "1", "area_id": AREA, "en": "Bow", "zh": "结", "setting": "town"}
        for geometry in (
            json.dumps({"type": "Polygon", "coordinates": [BOW_TIE]}),
            "{",
            "[1]",
            json.dumps({"type": "Point", "coordinates": [1, 2]}),
        ):
            answer = one.post("/console/settings/cell", data=cell | {"geometry": geometry})
            assert (answer.status_code, text("rule_geometry", language) in answer.text) == (422, True)
            assert geometry in html.unescape(answer.text)
        channel = {"id": "two", "is_new": "1", "area_id": AREA, "kind": "email", "en": "M", "zh": "邮"}
        answer = one.post("/console/settings/channel", data=channel | {"url_secret": "a"})
        assert text("rule_url", language) in answer.text
        answer = one.post("/console/settings/channel", data=channel | {"id": "robot"})
        assert text("refused_taken", language) in answer.text


def test_cells_are_drawn_uploaded_and_switched_off(console: FormsConsole) -> None:
    with console.client("engineer") as one:
        cell = {"id": "square", "is_new": "1", "area_id": AREA, "en": "Square", "zh": "方块"}
        cell |= {"setting": "village", "enabled": "1"}
        feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [SQUARE]}}
        answer = one.post("/console/settings/cell", data=cell | {"geometry": json.dumps(feature)})
        assert answer.status_code == 303, answer.text
        form = form_of(one.get("/console/settings/cell?id=square").text, "/console/settings/cell")
        form.pop("enabled")
        assert one.post("/console/settings/cell", data=form).status_code == 303
        shown = one.get("/console/settings/cells.json").json()["features"]
        assert {row["properties"]["id"] for row in shown} == {row.cell_id for row in demo.duty_plan().cells}
        collection = one.get("/v1/cells").json()
        for row in collection["features"]:
            row["properties"]["enabled"] = True
        uploaded = {"file": ("cells.geojson", json.dumps(collection), "application/geo+json")}
        assert one.post("/console/settings/cells", files=uploaded).status_code == 303
        assert "Square" in one.get("/console/settings/cells.json").text
        broken = {"file": ("cells.geojson", b"\xff\xfe", "application/geo+json")}
        assert one.post("/console/settings/cells", files=broken).status_code == 422


def test_a_roster_is_edited_and_somebody_else_takes_a_shift(console: FormsConsole) -> None:
    with console.client("engineer") as one:
        address, roster_id = "/console/settings/roster", f"{AREA}-traffic"
        before = {row["roster_id"]: row for row in one.get("/v1/rosters").json()}[roster_id]
        form = form_of(one.get(address, params={"id": roster_id}).text, address)
        assert one.post(address, data=form).status_code == 303
        assert {row["roster_id"]: row for row in one.get("/v1/rosters").json()}[roster_id] == before
        first, second = before["rotations"][0]["members"]
        form["members"][0] = f"{second}、{first}"
        assert one.post(address, data=form).status_code == 303
        after = {row["roster_id"]: row for row in one.get("/v1/rosters").json()}[roster_id]
        assert after["rotations"][0]["members"] == [second, first]
        form["members"][0] = "nobody-of-the-team"
        assert text("rule_rotations") in one.post(address, data=form).text
    with console.client("operator") as one:
        assert one.post(address, data=form).status_code == 403, "rosters are the engineer's"
        now_s = time.time()
        times = {
            name: time.strftime("%Y-%m-%dT%H:%M", time.gmtime(now_s + 8 * 3600 + offset_s))
            for name, offset_s in (("begin", -3600), ("end", 3600))
        }
        override = {"roster_id": roster_id, "member_id": first, "note": "换班"}
        assert one.post("/console/settings/overrides", data=override | times).status_code == 303
        duty = {row["team_id"]: row for row in one.get("/v1/duty").json()}[roster_id]
        assert [(row["member_id"], row["is_override"]) for row in duty["on_duty"]] == [(first, True)]
        assert "换班" in one.get("/console/settings/duty").text
        backwards = {"begin": times["end"], "end": times["begin"]}
        refused = one.post("/console/settings/overrides", data=override | backwards)
        assert (refused.status_code, text("rule_to") in refused.text) == (422, True)


def test_a_shift_leaves_notes_to_the_next_and_shows_its_alarm_performance(console: FormsConsole) -> None:
    note = {"team_id": f"{AREA}-traffic", "text": "北港泵站检修至周五", "incidents": "41、#42"}
    with console.client("operator", "zh-CN") as one:
        assert one.post("/console/shift/notes", data=note).status_code == 303
        (kept,) = one.get("/v1/handover-notes").json()["items"]
        assert (kept["text"], kept["incidents"]) == (note["text"], [41, 42])
        page = one.get("/console/shift?operators=2").text
        assert note["text"] in page
        assert 'href="/console/incidents/42"' in page
        assert "人均日报警数" in page
        refused = one.post("/console/shift/notes", data=note | {"incidents": "the pump"})
        assert refused.status_code == 422
        assert "请填写事件编号" in refused.text
        assert one.post("/console/shift/notes", data=note | {"text": " "}).status_code == 422
    with console.client("viewer") as one:
        assert one.get("/console/shift").status_code == 403
        assert one.post("/console/shift/notes", data=note).status_code == 403


def test_a_key_made_for_a_member_sets_the_members_own_preferences(console: FormsConsole) -> None:
    member = demo.duty_plan().teams[0].members[1].member_id
    address = "/console/settings/preferences"
    with console.client("operator") as one:
        page = one.get(address).text
        assert text("no_member") in page
        assert one.get("/v1/me").json()["who"] in page
    with console.client("administrator") as one:
        assert member in one.get("/console/settings").text
        new_key = {"name": "Li", "role": "team_member", "member_id": member, "days": "1"}
        made = one.post("/console/settings/keys", data=new_key)
        found = re.search(r"tt_[0-9a-f]{12}_[\w-]+", made.text)
        assert found is not None, made.text
    console.keys["own"] = found[0]
    with console.client("own") as one:
        assert one.get("/v1/me").json()["team_id"] == TEAM
        form = form_of(one.get(address).text, address)
        form |= {"own": ["1", "3"], "channels": ["1:console"]}
        form["quiet_from"][2], form["quiet_to"][2] = "22:00", "06:30"
        assert one.post(address, data=form).headers["location"] == f"{address}?done=saved"
        (stored,) = one.get("/v1/me/preferences").json()
        assert stored["preferences"] == [
            {"priority": 1, "channels": ["console"], "quiet_from": None, "quiet_to": None},
            {"priority": 3, "channels": [], "quiet_from": "22:00", "quiet_to": "06:30"},
        ]
        again = form_of(one.get(address).text, address)
        assert (again["own"], again["channels"]) == (["1", "3"], ["1:console"])
        again["quiet_to"][2] = ""
        assert text("rule_quiet") in one.post(address, data=again).text


def test_a_test_message_is_put_into_the_outbox_by_a_supervisor(console: FormsConsole) -> None:
    address = "/console/settings/channels/robot/test"
    with console.client("operator") as one:
        assert address not in one.get("/console/settings/channels").text
        assert one.post(address).status_code == 403
    with console.client("supervisor") as one:
        assert address in one.get("/console/settings/channels").text
        assert one.post(address).headers["location"] == "/console/settings/channels?done=test"
        assert one.get("/console/settings/channel?id=robot").status_code == 403
        outbox = NotificationStore(console.store)
        (stored,) = outbox.found(NotificationQuery(area_ids=[AREA], limit=1))
        assert (stored.kind, stored.channel_id) == ("test", "robot")
        assert text("notification_waiting") in one.get("/console/settings/channels").text


def test_a_channel_that_is_switched_off_can_be_edited_again(console: FormsConsole) -> None:
    with console.client("administrator") as one:
        address = "/console/settings/channel"
        mail = {"id": "mail", "is_new": "1", "area_id": AREA, "kind": "email", "en": "Mail", "zh": "邮件"}
        assert one.post(address, data=mail).status_code == 303
        form = form_of(one.get(address, params={"id": "mail"}).text, address)
        assert "enabled" not in form
        assert one.post(address, data=form | {"enabled": "1"}).status_code == 303
        assert {row["channel_id"]: row["enabled"] for row in one.get("/v1/channels").json()}["mail"]


def test_each_role_sees_the_pages_that_it_may_use(console: FormsConsole) -> None:
    seen = {}
    for who in console.keys:
        if who == "own":
            continue
        with console.client(who) as one:
            statuses = {path: one.get(f"/console/{path}").status_code for path in FORM_PAGES}
            assert set(statuses.values()) <= {200, 403}
            seen[who] = sum(status == 200 for status in statuses.values())
            links = re.findall(r'href="/console/(settings/\w+|enrolment)"', one.get("/console/settings").text)
            assert all(statuses[path] == 200 for path in links), (who, links)
    assert list(seen.values()) == sorted(seen.values())
    assert (seen["viewer"], seen["administrator"]) == (6, len(FORM_PAGES))


def test_commands_are_sent_to_a_town_and_listed_with_their_results(console: FormsConsole) -> None:
    address = "/console/settings/commands"
    forms: dict[str, dict[str, Any]] = {
        "limits": {"site": "shendang-r01", "quantity": "ph", "limits": "fail_high=9.5", "note": "低水位"},
        "incident": {"site": "shendang-r01", "kind": "water", "severity": "3", "summary": "桥下泡沫"},
        "dashboard": {"area": "330424", "dashboard": '{"uid": "county-rivers", "title": "全县河流"}'},
    }
    with console.client("engineer") as one:
        for kind, form in forms.items():
            answer = one.post(f"{address}/{kind}", data=form)
            assert (answer.status_code, answer.headers["location"]) == (303, f"{address}?done=sent")
        refusals: list[tuple[str, dict[str, str], str]] = [
            ("limits", {"limits": "fail_high"}, "rule_limits"),
            ("limits", {"site": "330483-d1-r04"}, "refused_taken"),
            ("incident", {"summary": ""}, "rule_summary"),
            ("dashboard", {"dashboard": "{"}, "rule_dashboard"),
            ("dashboard", {"dashboard": '{"uid": "towntwin-road-en", "title": "x"}'}, "rule_dashboard"),
        ]
        for kind, changed, key in refusals:
            answer = one.post(f"{address}/{kind}", data=forms[kind] | changed)
            assert (answer.status_code, text(key) in answer.text) == (422, True), (kind, changed)
        sent, *_ = one.get("/v1/federation/commands").json()
    rows = FederatedRows(console.store)
    commands = FederationCommands(console.store)
    sender = ForwarderIdentity("shendang-box", "330424-shendang", 1, 9, "0.3.0")
    result = CommandResult(
        command_id=sent["command_id"], state="refused", detail="the policy permits none", at_s=time.time()
    )
    commands.store_results(rows, sender, [result])
    above = IssuedCommand(
        command_id="00000000-0000-4000-8000-000000000026",
        area_id=AREA,
        from_above=True,
        kind="limits",
        content={"site_id": "330483-d1-r04", "quantity": "ph", "limits": {}},
        who="above: Zhou (key:1)",
        issued_s=time.time(),
    )
    commands.receive(above, CommandEffect("limits: too high"))
    with console.client("operator") as one:
        page = one.get(address).text
        for shown in ("全县河流", "the policy permits none", "limits: too high", "Zhou", "低水位"):
            assert shown in page
        for key in ("command_state_waiting", "command_state_refused", "command_kind_dashboards"):
            assert text(key) in page
        assert text("command_limits") not in page, "an engineer's"
        assert one.post(f"{address}/limits", data=forms["limits"]).status_code == 403
    with console.client("viewer") as one:
        assert one.get(address).status_code == 403


def test_a_device_is_proposed_confirmed_and_revoked(console: FormsConsole) -> None:
    address = "/console/enrolment"
    with console.client("operator") as one:
        made = one.post(f"{address}/codes", data={"area": AREA, "devices": "2", "hours": "24"})
        assert "<svg" in made.text
        assert not re.search(r'\sstyle="', made.text), "the policy forbids inline styles"
        found = re.search(r"#(tte_[\w-]+)", made.text)
        assert found is not None
        proposed = {"code": found[1], "area": AREA, "device": "wz-77", "credential": "password"}
        channels = [{"name": "ph", "unit": "pH", "value": 7.4}, {"name": "spare", "unit": None, "value": 1.0}]
        answer = httpx.post(f"{console.base_url}/v1/enrolments", json=proposed | {"channels": channels})
        enrolment_id = answer.json()["enrolment_id"]
        decide = f"{address}/{enrolment_id}"
        form = form_of(one.get(address).text, decide)
        assert (form["name"], form["unit"], form["site"]) == (["ph", "spare"], ["pH", ""], ["", ""])
        assert form["quantity"][0] == "ph"
        refused = one.post(decide, data=form | {"decision": "confirm"})
        assert (refused.status_code, text("rule_channels") in refused.text) == (422, True)
        form["site"][0], form["limits"][0] = f"{AREA}-r04", "suspect_low=9, suspect_high=6"
        refused = one.post(decide, data=form | {"decision": "confirm"})
        assert (refused.status_code, text("rule_limits") in refused.text) == (422, True)
        form = form_of(refused.text, decide)
        assert form["site"][0] == f"{AREA}-r04"
        form["limits"][0] = "suspect_low=6, suspect_high=9"
        done = one.post(decide, data=form | {"decision": "confirm"})
        assert done.headers["location"] == f"{address}?done=confirm"
        known = console.store.directory()
        (channel,) = [row for row in known.channels if row.device_id == "wz-77"]
        assert (channel.name, channel.site_id, channel.quantity) == ("ph", f"{AREA}-r04", "ph")
        assert one.post(decide, data={"decision": "revoke"}).status_code == 303
        assert text("enrolment_state_revoked") in one.get(address).text
        code_id = found[1].split("_")[1]
        assert one.post(f"{address}/codes/{code_id}/revoke").status_code == 303
        assert one.post(f"{address}/codes/{code_id}/revoke").status_code == 422
    with console.client("viewer") as one:
        assert one.get(address).status_code == 403
        assert one.post(f"{address}/codes", data={"area": AREA}).status_code == 403


def test_scenarios_are_computed_and_compared(browser: Browser, console: FormsConsole) -> None:
    with console.client("viewer") as one:
        assert 'name="target"' not in one.get("/console/scenarios").text
        data = spill_and_sluice("x", [BRIDGE, ""])
        assert one.post("/console/scenarios", data=data).status_code == 403
    with console.client("operator") as one:
        refused = one.post("/console/scenarios", data=spill_and_sluice("x", [BRIDGE, ""], amount="0"))
        assert (refused.status_code, text("rule_scenario") in refused.text) == (422, True)
    page = signed_in(browser, console)
    page.goto(f"{console.base_url}/console/scenarios")
    page.get_by_label(translations.translate("scenario_name", "en")).fill("丙")
    change = page.locator("fieldset").first
    change.locator("select[name=target]").select_option(BRIDGE)
    change.locator("input[name=amount]").fill("20")
    page.get_by_role("button", name=translations.translate("scenario_run", "en"), exact=True).click()
    expect(page.locator("#statements")).to_contain_text("The spills reach")
    assert page.locator("#sites-reached tbody tr").count() > 5
    page.get_by_role("link", name=translations.translate("compare_with", "en").format("乙")).click()
    expect(page.locator("#main")).to_contain_text("Flow stops at Main canal (from Storm sewer mouth)")
    assert page.locator("polyline").count() >= 4
    peaks = page.locator("#compared-sites tbody tr").last.locator("td").all_inner_texts()
    assert float(peaks[1]) > 0
    assert float(peaks[3].removeprefix("<")) <= 0.001
    assert "e-" not in "".join(peaks)
    kept = page.get_by_role("row").filter(has=page.get_by_role("link", name="乙", exact=True))
    expect(kept).to_contain_text(re.compile("spill of .* kg · .*market bridge.*; sluice opened to 0 · "))
    sites = page.locator("#compared-sites tbody th").all_inner_texts()
    assert len(set(sites)) == len(sites), "sections of two towns with one name"
    listed = page.locator("table").last
    assert (
        listed.get_by_role("link", name=translations.translate("compare_with", "en").format("丁")).count()
        == 0
    )
    page.get_by_role("link", name="丁", exact=True).click()
    expect(page.locator("#statements")).to_contain_text("no other link leads on: vehicles wait")
    assert page.locator("#roads-altered tbody tr").count() >= 2
    assert page.locator(".road-maps figure").count() == 2
    page.get_by_role("link", name=translations.translate("compare_with", "en").format("戊")).click()
    expect(page.locator("#compared-roads")).to_be_visible()
    assert page.locator(".road-maps figure").count() == 3


@pytest.mark.parametrize("language", LANGUAGES)
def test_places_for_sensors_are_ranked_with_what_each_adds_and_as_a_report(
    console: FormsConsole, language: Language
) -> None:
    address = "/console/placement"
    with console.client("viewer", language) as one:
        form = form_of(one.get(address).text, address)
        assert (form["existing"], form["sensors"]) == (["keep"], ["5"])
        page = one.get(address, params=form | {"area": "330483", "existing": "compete", "sensors": "4"}).text
        ranks = re.findall(r'<tr><td class="number">(\d+)</td>', page)
        assert ranks == [str(rank) for rank in range(1, len(ranks) + 1)]
        assert page.count('<g class="place">') == len(ranks) > 1
        assert page.count("<polyline") > 3
        kept = one.get(address, params=form).text
        assert re.search(r'<tr><td class="number">(\d+)</td>', kept)[1] == "0"  # type: ignore[index]
        file = html.unescape(re.search(r'href="(/v1/twin/placement/report[^"]+)"', page)[1])  # type: ignore[index]
        assert f"language={language}" in file
        assert one.get(file.replace("format=pdf", "format=html")).text.count("<img ") == 2
        rule = text("rule_placement", language)
        for wrong, says in (
            (
                {"sensors": "1000000"},
                text("refused_field", language, text("placement_sensors", language), rule),
            ),
            ({"amount_kg": "inf"}, text("refused_field", language, text("placement_amount", language), rule)),
            ({"limit_mg_l": "0"}, text("refused_field", language, text("placement_limit", language), rule)),
            ({"existing": "all"}, text("placement_existing", language)),
            ({"area": "330483-d9"}, text("refused_unknown", language)),
            ({"area": AREA, "sensors": "<b>"}, rule),
        ):
            refused = one.get(address, params=form | wrong)
            assert (refused.status_code in {404, 422}, says in refused.text) == (True, True), wrong
            assert "<b>" not in refused.text


@pytest.mark.parametrize(("language", "scheme"), [("en", "light"), ("zh", "dark")])
def test_pages_with_forms_are_accessible_fit_a_phone_and_are_in_one_language(
    browser: Browser, console: FormsConsole, tmp_path: Path, language: Language, scheme: str
) -> None:
    context = browser.new_context(
        locale=LANGUAGES[language],
        color_scheme="dark" if scheme == "dark" else "light",
        bypass_csp=True,
        viewport={"width": 390, "height": 844} if scheme == "dark" else {"width": 1366, "height": 900},
    )
    one = context.new_page()
    sign_in(one, f"{console.base_url}/login#{console.keys['administrator']}")
    propose(console, f"wz-{language}-{secrets.randbelow(10**6)}")  # another one when it is repeated; no word
    names = {one.name for team in demo.duty_plan().teams for one in team.members} | {
        *("Person", "English", "main", "towntwin", "suspect_low", "suspect_high"),
        *("tests", "water_level", "Li", "Zhou"),
    }
    allowed = {word for name in names for word in re.findall(r"[A-Za-z]+", name)}
    for path in FORM_PAGES:
        one.goto(f"{console.base_url}/console/{path}")
        expect(one.locator("main")).to_be_visible()
        if "cell" in path:
            wait_for_map(one)
        shot = re.sub(r"\W+", "_", path)
        one.screenshot(path=tmp_path / f"{shot}.{language}.png", full_page=True)
        assert one.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path
        header = one.locator("header.top").bounding_box()
        assert header
        assert header["height"] < (60 if scheme == "light" else 200), "the header wraps"
        assert serious_findings(one, contrast_only=scheme == "dark") == [], path
        if language == "zh":
            # Ids of enrolment codes are random: some of their parts look like words.
            lines = re.sub(r"\b[0-9a-f]{12}\b", "", "\n".join(shown_texts(one))).splitlines()
            assert {word for line in lines for word in english_in(line)} - allowed == set(), path
    context.close()


def test_a_cell_is_drawn_by_clicks_on_the_map(
    browser: Browser, console: FormsConsole, tmp_path: Path
) -> None:
    one = signed_in(browser, console)
    one.goto(f"{console.base_url}/console/settings/cell")
    wait_for_map(one)
    one.get_by_role("button", name=translations.translate("draw", "en")).click()
    box = one.locator("#map canvas").bounding_box()
    assert box is not None
    for across, down in ((0.3, 0.3), (0.6, 0.3), (0.6, 0.6), (0.3, 0.6)):
        one.mouse.click(box["x"] + box["width"] * across, box["y"] + box["height"] * down)
    one.get_by_role("button", name=translations.translate("draw_end", "en")).click()
    drawn = json.loads(one.locator("#geometry").input_value())
    assert (drawn["type"], len(drawn["coordinates"][0])) == ("Polygon", 5)
    one.locator("input[name=id]").fill("drawn")
    one.locator("select[name=area_id]").select_option(AREA)
    one.locator("input[name=en]").fill("Drawn")
    one.locator("input[name=zh]").fill("手绘")
    one.screenshot(path=tmp_path / "drawn.png", full_page=True)
    one.get_by_role("button", name=translations.translate("save", "en"), exact=True).click()
    expect(one.locator(".notice")).to_have_text(f"✓ {translations.translate('saved', 'en')}")
    expect(one.get_by_role("link", name="Drawn")).to_be_visible()
    assert one.url.endswith("/console/settings/cells?done=saved")
    wait_for_map(one)
    one.screenshot(path=tmp_path / "cells.png", full_page=True)


def signed_in(browser: Browser, console: FormsConsole) -> Page:
    """A page of the administrator."""
    one = browser.new_context(locale="en-US", viewport={"width": 1366, "height": 900}).new_page()
    sign_in(one, f"{console.base_url}/login#{console.keys['administrator']}")
    return one


def propose(console: FormsConsole, device: str) -> None:
    """Propose a device by a new code."""
    headers = {"X-API-Key": console.keys["operator"]}
    code = httpx.post(f"{console.base_url}/v1/enrolment-codes", json={"area": AREA}, headers=headers).json()
    proposed = {"code": code["code"].partition("#")[2], "area": AREA, "device": device}
    proposed |= {"credential": "password"}
    channels = [
        {"name": "ph", "unit": "pH", "value": 7.4},
        {"name": "water_level", "unit": "m", "value": 2.1},
    ]
    answer = httpx.post(f"{console.base_url}/v1/enrolments", json=proposed | {"channels": channels})
    assert answer.status_code == 200, answer.text
