"""Tests assessments and monthly reports by API and by command, on a real TimescaleDB."""

from __future__ import annotations

import asyncio
import filecmp
import re
import subprocess
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from httpx import ASGITransport, AsyncClient

from analytics.assessments.probe_drift import WEEK_S
from analytics.service import reports
from analytics.service.monthly_assessment import assess
from analytics.service.reports import pdf, report_data, translations
from analytics.service.settings import Settings
from ingest_service.storage.contract.models import Directory
from ingest_service.storage.memory.store import MemoryStore
from ingest_service.storage.postgres.maintenance import MaintenanceLog
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.audit_entries import audited_actions
from tests.support.chinese_texts import english_in
from tests.support.demo_store import fill_with_demo
from tests.support.gateway_access import HEADERS, gateway_app
from tests.support.processes import REPOSITORY, run_command
from tests.support.store_samples import DIRECTORY
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from httpx import Response

    from ingest_service.storage.contract.store import Store

UNTIL_S = datetime(2026, 11, 2, 12, tzinfo=ZoneInfo("Asia/Shanghai")).timestamp()


@pytest.fixture(scope="module")
def filled(timescale_server: object) -> Iterator[tuple[str, PostgresStore]]:
    """Three demo days over the end of October, assessed."""
    with fresh_database(timescale_server) as dsn:  # type: ignore[arg-type]
        migrate(dsn)
        store = PostgresStore.open(dsn)
        fill_with_demo(store, days=3.0, until_s=UNTIL_S)
        assess(store, Settings())
        yield dsn, store
        store.close()


@pytest.fixture
def store(filled: tuple[str, PostgresStore]) -> PostgresStore:
    return filled[1]


def get(store: Store, path: str, **params: Any) -> Response:
    async def ask() -> Response:
        app = ASGITransport(gateway_app(store), raise_app_exceptions=False)
        async with AsyncClient(transport=app, base_url="http://gateway", headers=HEADERS) as client:
            return await client.get(path, params=params)

    return asyncio.run(ask())


def items(store: Store, **params: Any) -> list[Any]:
    answer = get(store, "/v1/assessments", **params)
    assert answer.status_code == 200, answer.text
    found: list[Any] = answer.json()["items"]
    return found


def test_assessments_by_area_site_kind_and_month(store: PostgresStore) -> None:
    everything = items(store)
    assert {one["month"] for one in everything} == {"2026-10", "2026-11"}
    county = items(store, area="330483", to="2026-10")
    assert {one["area_id"] for one in county} == {"330483-d1"}
    assert {one["month"] for one in county} == {"2026-10"}
    (one,) = items(store, site="330483-d1-r04", kind="water_class", **{"from": "2026-11"})
    assert (one["subject"], one["items_of"], one["target"]) == ("site/330483-d1-r04", 21, 3)
    assert one["met"] == (one["class"] <= 3)
    assert one["data_to"] == "2026-11-02T04:00:00.000Z"
    two = items(store, kind=["index", "response"], area="330400", to="2026-10")
    assert {one["kind"] for one in two} == {"index", "response"}


def test_pages_follow_each_other_without_gap_or_repeat(store: PostgresStore) -> None:
    whole = items(store)
    collected: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = get(store, "/v1/assessments", limit=37, **cursor).json()
        collected += page["items"]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert collected == whole


@pytest.mark.parametrize(
    ("path", "params", "status", "says"),
    [
        ("/v1/assessments", {"area": "nowhere"}, 404, "area"),
        ("/v1/assessments", {"site": "nowhere"}, 404, "site"),
        ("/v1/assessments", {"from": "2026-13"}, 422, "from"),
        ("/v1/assessments", {"kind": "beauty"}, 422, "kind"),
        ("/v1/assessments", {"cursor": "LTEyOjE"}, 422, "cursor"),
        ("/v1/reports/nowhere/2026-10", {}, 404, "area"),
        ("/v1/reports/330483/2020-01", {}, 404, "report"),
        ("/v1/reports/330483/soon", {}, 422, "month"),
        ("/v1/reports/330483/2026-10", {"format": "docx"}, 422, "format"),
    ],
)
def test_wrong_queries_are_problems(
    path: str, params: dict[str, Any], status: int, says: str, store: PostgresStore
) -> None:
    answer = get(store, path, **params)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert says in answer.json()["detail"]


def test_a_store_in_memory_has_none_and_reports_it() -> None:
    memory = MemoryStore()
    memory.enrol(DIRECTORY)
    for path in ("/v1/assessments", "/v1/reports/330483/2026-10"):
        assert get(memory, path).status_code == 501


@pytest.fixture(scope="module")
def pages(filled: tuple[str, PostgresStore]) -> dict[str, Response]:
    """The report of November as a page, by language: drawing one takes seconds."""
    return {
        language: get(filled[1], "/v1/reports/330483/2026-11", language=language) for language in ("zh", "en")
    }


@pytest.mark.parametrize(
    ("language", "wanted"),
    [
        (
            "zh",
            [
                "桐乡市2026年11月水环境与交通运行月报",
                "21项中5项",
                "高锰酸盐指数",
                "未监测",
                "六价铬",
                "恒值",
                "综合评价指数",
            ],
        ),
        (
            "en",
            [
                "Tongxiang City: water and traffic",
                "5 of 21",
                "permanganate index",
                "chromium (VI)",
                "Evaluation index",
            ],
        ),
    ],
)
def test_the_report_as_a_page_shows_all_of_its_area_and_nothing_of_others(
    language: str, wanted: list[str], store: PostgresStore, pages: dict[str, Response]
) -> None:
    answer = pages[language]
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    page = answer.text
    assert [one for one in wanted if one not in page] == []
    assert page.count("<img ") == 4, "a map and three plots"
    assert page.count('alt=""') == 0
    assert "Nanhu" not in page
    assert "南湖" not in page
    for one in items(store, area="330483", kind="water_class", **{"from": "2026-11"}):
        assert f"{one['value']:.2f}" in page
    assert not re.search(
        r"None|nan|\{\w+\}", re.sub(r"data:image/png;base64,[^\"]+", "", page.split("</style>")[1])
    )
    if language == "zh":
        assert english_in(page.split("</style>")[1]) == []
    assert pages["zh"].text != pages["en"].text


def test_the_same_assessments_make_the_same_bytes(store: PostgresStore, pages: dict[str, Response]) -> None:
    """Those of a PDF are compared between two processes below."""
    again = get(store, "/v1/reports/330483/2026-11", format="html", language="zh").content
    assert again == pages["zh"].content
    assert again[:5] == b"<!DOC"


def test_calibrated_probes_and_a_month_without_one_before_are_in_the_report(store: PostgresStore) -> None:
    probe = next(
        one
        for one in store.directory().series
        if (one.site_id, one.quantity) == ("330483-d1-r04", "turbidity")
    )
    made = report_data.read_report_data(store, store.directory(), "330483", "2026-11", "en")
    for weeks, before in ((5, 12.0), (0, 15.0)):
        assert MaintenanceLog(store).calibrate(
            probe.series_id,
            calibrated_s=made.as_of_s - weeks * WEEK_S,
            reference=10.0,
            before=before,
            after=10.0,
            tolerance=None,
            who="w",
            note="",
        )
    page = get(store, "/v1/reports/330483/2026-11", language="en").text
    due = datetime.fromtimestamp(made.as_of_s + 3 * WEEK_S, store.zone)
    assert "Calibration of probes" in page
    assert all(text in page for text in ("+5 → +0", "+1 NTU", f"{due:%Y-%m-%d}"))
    assert "overdue" not in page
    before_it = get(store, "/v1/reports/330483/2026-10", language="en").text
    assert "+2 → +0" in before_it
    assert "+5 → +0" not in before_it, "a report has no later calibrations"
    assert "There are no assessments of the month before." in before_it


def test_what_a_reader_may_not_know_is_not_returned(store: PostgresStore) -> None:
    whole = store.directory()
    hidden = "330483-d1-r04"
    part = Directory(
        areas=whole.areas,
        sites=[one for one in whole.sites if one.site_id != hidden],
        series=[one for one in whole.series if one.site_id != hidden],
        nodes=whole.nodes,
        links=[one for one in whole.links if one.network == "river"],
    )
    report_content = report_data.read_report_data(store, part, "330483", "2026-11", "en")
    assert report_content.assessments_of("water_class", "site")
    assert not [one for one in report_content.month_assessments if one.site_id == hidden or one.link_id]
    page = reports.render_report(store, part, "330483", "2026-11", language="en", form="html").decode()
    assert page.count("<img ") == 3, "a map and two plots: no roads, no picture of them"


def test_every_word_is_there_in_both_languages() -> None:
    for key, (english, chinese) in translations.TRANSLATIONS.items():
        assert english
        assert chinese
        assert set(re.findall(r"\{\w+", english)) >= set(re.findall(r"\{\w+", chinese)), key
    assert translations.translate("dissolved_oxygen", "zh") == "溶解氧"
    assert translations.join_texts([], "en") == "–"


def test_lines_of_chinese_do_not_begin_with_a_full_stop(store: PostgresStore) -> None:
    report = reports.content.build_report(
        report_data.read_report_data(store, store.directory(), "330483", "2026-11", "zh")
    )
    page = pdf.new_document(report)
    page.set_font(pdf.FONT, "", 10)
    for extra in range(12):
        lines = list(
            pdf.wrap_chinese(page, "水" * extra + "在3个乡镇中排名第2。行程时间指数1.08，畅通；" * 8, 170.0)
        )
        assert len(lines) > 1
        assert all(page.get_string_width(line) <= page.epw for line in lines)
        assert not [line for line in lines if line[0] in "，。；"]
        assert "1.08" in lines[0] + lines[1]
    pdf.close_fonts(page)


def command(dsn: str, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "deploy", "report", "--dsn", dsn, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_command_writes_what_the_api_answers(filled: tuple[str, PostgresStore], tmp_path: Path) -> None:
    dsn, store = filled
    out = tmp_path / "report.pdf"
    code, output = command(
        dsn, "--area", "330483", "--month", "2026-10", "--language", "zh", "--out", str(out), "--compute"
    )
    assert (code, str(out) in output) == (0, True), output
    assert audited_actions(store, "report") == [
        ("report compute", "month=2026-10"),
        ("report", f"area=330483 month=2026-10 language=zh out={out}"),
    ]
    answered = get(store, "/v1/reports/330483/2026-10", format="pdf", language="zh")
    assert answered.content.startswith(b"%PDF-")
    assert b"NotoSansSC" in answered.content, "the font is inside"
    (tmp_path / "answered.pdf").write_bytes(answered.content)
    assert filecmp.cmp(out, tmp_path / "answered.pdf", shallow=False)


@pytest.mark.parametrize(
    ("changed", "code", "says"),
    [
        ({"--month": "2020-01"}, 1, "nothing is assessed of 330483 in 2020-01"),
        ({"--area": "nowhere"}, 1, "there is no area 'nowhere'"),
        ({"--month": "October"}, 2, "write it like 2026-10"),
        ({"--out": "report.docx"}, 2, "let its name end in .pdf or .html"),
        ({"--out": "nowhere/report.html"}, 2, "No such file"),
        ({"--compute": "", "--index-file": "nowhere.toml"}, 2, "can't be used as the index's weights"),
    ],
)
def test_the_command_reports_what_is_wrong(
    changed: dict[str, str], code: int, says: str, filled: tuple[str, PostgresStore], tmp_path: Path
) -> None:
    given = {"--area": "330483", "--month": "2026-10", "--out": "report.html"} | changed
    given["--out"] = str(tmp_path / given["--out"])
    words_ = [word for pair in given.items() for word in pair if word]
    done = run_command("report", "--dsn", filled[0], *words_)
    output = done.stdout + done.stderr
    assert (done.returncode, says in output) == (code, True), output
