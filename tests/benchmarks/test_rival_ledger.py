"""Tests the parts of the rival's ledger that need no Telegraf: payloads, faults, section of the report."""

from __future__ import annotations

from benchmarks.ledger import puback_agent, rival_report
from benchmarks.ledger.counting_agent import records
from benchmarks.ledger.faults import FAULT_KINDS
from benchmarks.ledger.rival_faults import INAPPLICABLE, REPLACED, RIVAL_FAULT_KINDS
from edge.wire import senml

START_S = 1_790_000_000
REPORT = "# Ledger\n\ntext\n\n## Limits\n\nnone\n"
SECTION = "## The rival's ledger\n\nrows\n\n"


def test_the_payload_for_the_rival_has_the_same_records() -> None:
    expected = records(100, START_S)
    decoded = senml.decode(puback_agent.encode(expected), content_type="application/senml+json", now_s=0)
    assert [(one.name, one.time_s, one.value) for one in decoded] == [
        (one.name, one.time_s, one.value) for one in expected
    ]


def test_every_fault_applies_to_the_rival_or_has_a_reason_why_not() -> None:
    names = [one.name for one in FAULT_KINDS]
    assert [one.name for one in RIVAL_FAULT_KINDS] == [one for one in names if one not in INAPPLICABLE]
    assert set(INAPPLICABLE) | set(REPLACED) <= set(names)
    assert not set(INAPPLICABLE) & set(REPLACED)


def test_the_section_of_the_rival_is_kept_and_replaced() -> None:
    with_rival = rival_report.with_section(REPORT, SECTION)
    assert with_rival == REPORT.replace("## Limits", SECTION + "## Limits")
    assert rival_report.section_of(with_rival) == SECTION
    assert rival_report.with_section(with_rival, SECTION) == with_rival
    changed = SECTION.replace("rows", "other rows")
    assert rival_report.section_of(rival_report.with_section(with_rival, changed)) == changed
    assert rival_report.section_of(REPORT) == ""
