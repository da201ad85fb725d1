"""Prints the differences and the summary of a push to the terminal."""

from __future__ import annotations

from difflib import unified_diff
from typing import TYPE_CHECKING

from rich.syntax import Syntax
from rich.table import Table

from dashboards.push.change import GrafanaChange, canonical_json

if TYPE_CHECKING:
    from rich.console import Console

CONTEXT_LINES = 3
VERDICT_TEXTS = {
    "new": ("create", "created"),
    "ours": ("update", "updated"),
    "foreign": ("overwrite a person's change", "overwritten"),
    "same": ("leave as it is", "left as it was"),
}


def print_difference(change: GrafanaChange, console: Console) -> None:
    """Print a unified diff between an object in Grafana and the pushed one; one line if it is new."""
    if change.verdict == "new":
        console.print(f"+ {change.object_name}", style="green", markup=False)
        return
    console.print(f"~ {change.object_name} {change.why}", style="yellow", markup=False)
    lines = unified_diff(
        canonical_json(change.before).splitlines(), canonical_json(change.after).splitlines(), "in Grafana",
        "pushed", lineterm="", n=CONTEXT_LINES,
    )  # fmt: skip
    console.print(Syntax("\n".join(lines), "diff", background_color="default"))


def print_summary(changes: list[GrafanaChange], console: Console, *, dry_run: bool) -> None:
    """Print the number of changes by verdict."""
    table = Table(box=None)
    table.add_column("would be" if dry_run else "was")
    table.add_column("", justify="right")
    for verdict, (would, was) in VERDICT_TEXTS.items():
        if n := sum(one.verdict == verdict for one in changes):
            table.add_row(f"to {would}" if dry_run else was, str(n))
    console.print(table)
