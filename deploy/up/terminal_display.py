"""Displays a running platform on the terminal: addresses, counts, problems and the newest anomalies."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from deploy.agent_fleet import FleetProgress
    from ingest_service.storage.contract.models import Anomaly, Directory, StoreHealth

TOWN_ZONE = ZoneInfo("Asia/Shanghai")
SEVERITY = {1: ("notice", "yellow"), 2: ("warning", "dark_orange"), 3: ("alarm", "bold red")}
MAX_SHOWN_ANOMALIES = 12
PLAIN_INTERVAL_S = 5.0
PRINTED_ABOVE = "(printed above)"
LONGEST_COUNT_LABEL = "open anomalies"
PANEL_COLUMNS = 8  # of borders and padding around the names and values of the panel


class TerminalDisplay:
    """A live-updated view on a terminal; plain lines where stdout is no terminal."""

    def __init__(self, addresses: list[tuple[str, str]], console: Console | None = None) -> None:
        self._console = console or Console()
        self._addresses = addresses
        self._live = Live(console=self._console, refresh_per_second=4, transient=False)
        self._printed_ids: set[int] = set()
        self._printed_addresses: set[str] = set()
        self._last_plain_s = 0.0
        self._problems: list[str] = []

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        else:
            for label, address in self._addresses:
                self._console.print(f"{label}: {address}", soft_wrap=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live.is_started:
            self._live.stop()

    def print_line(self, sentence: str) -> None:
        """Print one permanent line."""
        self._console.print(sentence, soft_wrap=True, markup=False)

    def show(
        self,
        health: StoreHealth,
        report: FleetProgress | None,
        newest: list[Anomaly],
        directory: Directory,
        problems: list[str],
        *,
        now_s: float,
    ) -> None:
        """Update the view, or print new anomalies and problems as lines."""
        if self._live.is_started:
            self._print_wide_addresses()
            self._live.update(self._live_view(health, report, newest, directory, problems))
        else:
            self._print_lines(health, report, newest, directory, now_s)
            self._print_new_problems(problems)

    def _wide_labels(self) -> set[str]:
        """Return the labels of the addresses that the panel would fold in a terminal of this width."""
        label_columns = max(len(label) for label in (LONGEST_COUNT_LABEL, *dict(self._addresses)))
        free_columns = self._console.width - label_columns - PANEL_COLUMNS
        return {label for label, address in self._addresses if len(address) > free_columns}

    def _print_wide_addresses(self) -> None:
        """Print addresses that are too wide for the panel once, each unbroken on a line of its own.

        What the panel folds has its border in the middle, and can't be copied or clicked.
        """
        wide = self._wide_labels() - self._printed_addresses
        for label, address in self._addresses:
            if label in wide:
                self._console.print(f"{label}:\n{address}", soft_wrap=True, markup=False, highlight=False)
        self._printed_addresses |= wide

    def _live_view(
        self,
        health: StoreHealth,
        report: FleetProgress | None,
        newest: list[Anomaly],
        directory: Directory,
        problems: list[str],
    ) -> Group:
        head = Table.grid(padding=(0, 2))
        head.add_column()
        head.add_column(overflow="fold")
        wide = self._wide_labels()
        for label, address in self._addresses:
            head.add_row(Text(label, style="bold"), PRINTED_ABOVE if label in wide else address)
        head.add_row("readings", f"{health.readings:,}")
        head.add_row(LONGEST_COUNT_LABEL, str(health.open_anomalies))
        head.add_row("dead letters", str(health.dead_letters))
        head.add_row("database", health.edition)
        for problem in problems:
            head.add_row(Text("problem", style="bold red"), Text(problem, style="red"))
        parts: list[Panel | Table | ProgressBar] = [Panel(head, title="towntwin", title_align="left")]
        if report is not None and report.total:
            parts.append(ProgressBar(total=report.total, completed=report.kept))
        table = Table(title="what is flagged, newest first", title_justify="left", expand=True)
        for column in ("since", "severity", "site", "what"):
            table.add_column(column, no_wrap=column != "what")
        names = {site.site_id: f"{site.en} {site.zh}" for site in directory.sites}
        for anomaly in newest[:MAX_SHOWN_ANOMALIES]:
            severity_name, style = SEVERITY[anomaly.severity]
            severity_text = severity_name if anomaly.state == "open" else f"{severity_name} (over)"
            table.add_row(
                _start_text(anomaly),
                Text(severity_text, style=style),
                names[anomaly.site_id],
                anomaly.reason_en,
            )
        return Group(*parts, table)

    def _print_lines(
        self,
        health: StoreHealth,
        report: FleetProgress | None,
        newest: list[Anomaly],
        directory: Directory,
        now_s: float,
    ) -> None:
        names = {site.site_id: site.en for site in directory.sites}
        for anomaly in reversed(newest):
            if anomaly.anomaly_id not in self._printed_ids:
                self._printed_ids.add(anomaly.anomaly_id)
                severity_name = SEVERITY[anomaly.severity][0]
                self.print_line(
                    f"  {_start_text(anomaly)}  {severity_name:<8} {names[anomaly.site_id]}: "
                    f"{anomaly.reason_en}"
                )
        if now_s - self._last_plain_s >= PLAIN_INTERVAL_S:
            self._last_plain_s = now_s
            share = f" of {report.total:,}" if report and report.total else ""
            self.print_line(
                f"{health.readings:,}{share} readings stored, {health.open_anomalies} open anomalies"
            )

    def _print_new_problems(self, problems: list[str]) -> None:
        """Print each problem when it appears, and not again while it lasts."""
        for problem in problems:
            if problem not in self._problems:
                self.print_line(problem)
        self._problems = problems


def _start_text(anomaly: Anomaly) -> str:
    return datetime.fromtimestamp(anomaly.start_s, TOWN_ZONE).strftime("%m-%d %H:%M")
