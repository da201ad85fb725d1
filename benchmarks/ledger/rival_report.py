"""Formats the result of the rival's run: lines for a terminal, and its section of docs/ledger.md."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.ledger.report import fault_rows
from benchmarks.ledger.rival import KEYED, PLAIN
from benchmarks.ledger.rival_faults import INAPPLICABLE, RIVAL_FAULT_KINDS

if TYPE_CHECKING:
    from benchmarks.ledger.rival_run import RivalRun

TEMPLATE = Path(__file__).with_name("rival_template.md")
HEADING, NEXT_HEADING = "## The rival's ledger", "## Limits"


def summary(done: RivalRun) -> str:
    """Return the result of a run as lines of text."""
    lines = [
        f"{done.version}, seed {done.options.seed}: {len(done.faults.caused)} faults in {done.took_s:.0f} s",
        f"{done.restarts} processes restarted",
    ]
    for name, one in done.counts.items():
        lines.append(f"{name}: " + ", ".join(f"{value:,} {key}" for key, value in one._asdict().items()))
    lines.append(f"{done.lost_in_both:,} lost in both tables")
    return "\n".join(lines + [f"without effect: {one}" for one in done.faults.without_effect])


def markdown(done: RivalRun, command: str) -> str:
    """Return the section of a run as Markdown.

    Parameters
    ----------
    done : result of the run
    command : with which it is repeated

    """
    rows = [
        f"| {name} | "
        + " | ".join(f"{getattr(done.counts[one.schema], key):,}" for one in (PLAIN, KEYED))
        + " |"
        for key, name in {
            "stored": "rows",
            "lost": "readings lost",
            "doubled": "rows doubled",
            "altered": "readings altered",
            "batches_dropped": "batches that its log reports as dropped",
        }.items()
    ]
    rows.insert(2, f"| of these in neither table | {done.lost_in_both:,} | {done.lost_in_both:,} |")
    return TEMPLATE.read_text().format(
        version=done.version,
        command=command,
        date=f"{dt.datetime.now(dt.UTC):%Y-%m-%d}",
        seed=done.options.seed,
        faults=len(done.faults.caused),
        kinds=len({one.name for one in done.faults.caused}),
        taken=done.counts[PLAIN.schema].taken,
        took_s=done.took_s,
        restarts=done.restarts,
        without_effect=len(done.faults.without_effect),
        poison=len(done.faults.poison),
        count_rows="\n".join(rows),
        fault_rows=fault_rows(done.faults, RIVAL_FAULT_KINDS),
        inapplicable="\n".join(f"| {name} | {reason} |" for name, reason in INAPPLICABLE.items()),
    )


def section_of(report: str) -> str:
    r"""Return the section of an earlier report, empty if it has none.

    >>> section_of("A\n\n## The rival's ledger\n\nB\n\n## Limits\n\nC\n")
    "## The rival's ledger\n\nB\n\n"
    """
    begin = report.find(HEADING)
    return "" if begin < 0 else report[begin : report.index(NEXT_HEADING, begin)]


def with_section(report: str, section: str) -> str:
    r"""Return a report with this section in place of an earlier one, before its limits.

    >>> with_section("A\n\n## Limits\n", "## The rival's ledger\n\nB\n\n")
    "A\n\n## The rival's ledger\n\nB\n\n## Limits\n"
    """
    old = section_of(report)
    rest = report.replace(old, "") if old else report or f"{NEXT_HEADING}\n"
    return rest.replace(NEXT_HEADING, section + NEXT_HEADING, 1)
