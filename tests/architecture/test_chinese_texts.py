"""Tests that no Chinese text of any part of the platform contains English words."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from analytics.core.cause_patterns import PATTERNS
from analytics.core.flags import Rule
from analytics.quality import anomaly_text, cause_text
from analytics.quality.cause_text import DepartedQuantity, PassedSite
from analytics.quality.detector_names import DETECTORS
from analytics.service import detector_diagnostics, simultaneous_silence
from analytics.service.dead_letter_quotas import DETECTOR as DEAD_LETTERS
from analytics.service.reports import translations as reports
from analytics.service.site_anomaly_builder import DETECTORS as SITE_DETECTORS
from dashboards import translations as dashboards
from dashboards.alerting import alert_rules
from dashboards.grafana_versions import COMMON_FEATURES
from deploy.security_checks.finding import TEXTS as SECURITY_TEXTS
from edge.wire.quantities import QUANTITIES
from gateway.console import health_checks
from gateway.console import translations as console
from gateway.transport import browser_error_pages
from ingest_service.storage.contract.models import Site
from ingest_service.storage.dead_letter_reasons import REASONS
from ingest_service.storage.health import process_messages
from ingest_service.storage.health.process_messages import BilingualText
from tests.support.chinese_texts import english_in, is_chinese

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
COURSES = ((0.0, False), (0.0, True), (86_400.0, False), (86_400.0, True))  # of a shift
SHOWN = {"title", "description", "displayName", "label", "noValue", "axisLabel", "content", "text"}
GRAFANA = {"All"}  # Grafana's own option of a variable, which it writes in the language of its user


def _of_dashboards(value: Any, key: str = "") -> Iterator[str]:
    """What a generated dashboard shows, SQL and identifiers left out."""
    if isinstance(value, dict):
        if value.get("id") == "displayName":  # a property of an override
            yield str(value["value"])
        for name, one in value.items():
            yield from _of_dashboards(one, name)
    elif isinstance(value, list):
        for one in value:
            yield from _of_dashboards(one, key)
    elif isinstance(value, str) and key in SHOWN and value not in GRAFANA:
        yield value


def _sentences(module: Any) -> Iterator[str]:
    for value in vars(module).values():
        for one in value.values() if isinstance(value, dict) else [value]:
            if isinstance(one, BilingualText | browser_error_pages.ErrorPageText):
                yield one.zh


def _reasons() -> Iterator[str]:
    for rule in anomaly_text.DETECTOR_NAMES:
        for quantity in QUANTITIES.values():
            for observed, spread in ((1e6, 1.0), (2.0, 1.0), (1.0, float("nan"))):
                for course in (
                    anomaly_text.Course(*of, False, impossible)
                    for of in COURSES
                    for impossible in (Rule(0), *anomaly_text.DETECTOR_NAMES)
                ):
                    yield anomaly_text.anomaly_sentences(
                        rule, quantity, observed=observed, expected=1.0, spread=spread, course=course
                    )[1]


def _causes() -> Iterator[str]:
    site = Site(site_id="s", area_id="t", kind="river_section", en="Section", zh="断面", lon=120.6, lat=30.6)
    departed = [DepartedQuantity(name, sign) for name in QUANTITIES for sign in (1.0, -1.0)]
    for cause in (None, *cause_text.CAUSE_TEXTS_EN):
        for passed in ([], *([PassedSite(site, lag_s)] for lag_s in (0.0, 7200.0, -7200.0))):
            for at in range(0, len(departed), cause_text.MAX_NAMED_QUANTITIES):
                yield cause_text.cause_sentences(
                    cause, departed[at : at + cause_text.MAX_NAMED_QUANTITIES], passed, alone=not passed
                )[1]
    yield from (one.zh for one in detector_diagnostics.FAULTS.values())


def _literals() -> Iterator[str]:
    """Every literal of the packages with Chinese and no English beside it on purpose; docstrings left out."""
    both = {"login.py", "browser_errors.py"}  # pages that show both languages, as the visitor is not known
    for package in ("analytics", "dashboards", "deploy", "edge", "gateway", "ingest_service"):
        for path in sorted((ROOT / package).rglob("*.py")):
            text = path.read_text("utf-8")
            if path.name in both or not is_chinese(text):
                continue
            tree = ast.parse(text)
            documentation = {
                id(node.value)
                for node in ast.walk(tree)
                if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            }
            for node in ast.walk(tree):
                if not isinstance(node, ast.Constant) or id(node) in documentation:
                    continue
                if isinstance(node.value, str) and is_chinese(node.value) and "年]" not in node.value:
                    yield node.value  # "年]" is in the pattern of a time


def chinese_texts() -> dict[str, list[str]]:
    """Every Chinese text by where it stands."""
    boards = sorted((ROOT / "dashboards" / "generated").glob("*.zh.json"))
    return {
        "quantities": [one.zh for one in QUANTITIES.values()],
        "reasons": list(_reasons()),
        "causes": list(_causes()),
        "reports": [zh for _, zh in reports.TRANSLATIONS.values()],
        "detectors": [zh for _, zh in DETECTORS.values()],
        "dead letters": [one.zh for one in REASONS.values()],
        "words of dashboards": [zh for _, zh in dashboards.TRANSLATIONS.values()],
        "dashboards": [text for one in boards for text in _of_dashboards(json.loads(one.read_text("utf-8")))],
        "alerts": [
            str(one["title"]).partition(" · ")[2] for one in alert_rules.build_alert_rules(COMMON_FEATURES)
        ],
        "console": [zh for key, (_, zh) in console.TRANSLATIONS.items() if key != "language"],
        "health": [
            *_sentences(process_messages),
            *_sentences(health_checks),
            *_sentences(browser_error_pages),
        ],
        "security": [
            part.zh for one in SECURITY_TEXTS.values() for part in (one.weakness, one.reason, one.remedy)
        ],
        "literals": list(_literals()),
    }


def test_no_english_stands_inside_chinese() -> None:
    texts = chinese_texts()
    assert [name for name, ones in texts.items() if not ones] == []
    found = {
        (name, one): english for name, ones in texts.items() for one in ones if (english := english_in(one))
    }
    assert found == {}


@pytest.mark.parametrize("text", ["相差over 100倍离散度", "Connection lost.", "No data available"])
def test_english_is_found(text: str) -> None:
    assert english_in(text)


def test_the_report_names_every_detector_in_both_languages() -> None:
    causes = {f"cause/{name}" for name in cause_text.CAUSE_TEXTS_EN} | {
        f"cause/{one.name}" for one in PATTERNS
    }
    names = {
        *anomaly_text.DETECTOR_NAMES.values(), *detector_diagnostics.DETECTORS.values(), *SITE_DETECTORS,
        *causes, simultaneous_silence.DETECTOR, DEAD_LETTERS,
    }  # fmt: skip
    assert sorted(names - set(DETECTORS)) == []
