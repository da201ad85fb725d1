"""Prints a security report, as text in one language or as JSON in both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ingest_service.storage.health.process_messages import BilingualText

if TYPE_CHECKING:
    from deploy.security_checks.finding import SecurityReport

WEAK, UNCHECKED = BilingualText("WEAK", "薄弱"), BilingualText("NOT CHECKED", "未检查")
WHY, WHAT_TO_DO = BilingualText("why", "原因"), BilingualText("what to do", "处理")
NOTHING_WEAK = BilingualText("ok   nothing weak was found", "正常 未发现薄弱之处")


def print_text(report: SecurityReport, language: str) -> None:
    """Print each weakness with its reason and remedy, then what could not be checked."""

    def chosen(text: BilingualText) -> str:
        return str(getattr(text, language))

    for one in report.findings:
        print(f"{chosen(WEAK)} {one.weakness(language)}")
        print(f"     {chosen(WHY)}: {one.reason(language)}")
        print(f"     {chosen(WHAT_TO_DO)}: {one.remedy(language)}")
    for part in report.unchecked:
        print(f"{chosen(UNCHECKED)} {part.part}: {part.error}")
    if not report.findings and not report.unchecked:
        print(chosen(NOTHING_WEAK))


def print_json(report: SecurityReport) -> None:
    """Print an object with ``findings`` and ``unchecked``."""
    languages = ("en", "zh")
    findings = [
        {
            "kind": one.kind,
            "subject": one.subject,
            "weakness": {language: one.weakness(language) for language in languages},
            "reason": {language: one.reason(language) for language in languages},
            "remedy": {language: one.remedy(language) for language in languages},
        }
        for one in report.findings
    ]
    content = {"findings": findings, "unchecked": report.unchecked}
    print(msgspec.json.format(msgspec.json.encode(content)).decode())
