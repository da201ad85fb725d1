"""Runs `towntwin backtest`: reads histories, judges them, compares with labels, writes the results."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from analytics.core import judge as core
from analytics.service import backtest, parallel
from deploy import command_audit, recorded_devices
from deploy.backtest import history_loading, labels, outputs, series_plot
from deploy.backtest.history_loading import ReadingSelection
from deploy.command_resources import open_store
from deploy.settings import SettingsError
from edge.drivers import file_mapping
from edge.drivers.file_mapping import MappingError
from edge.wire.quantities import QUANTITIES

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from analytics.service.backtest import JudgedHistory, LabelWindow, SeriesHistory
    from deploy.settings import CommonSettings


def run_backtest(args: argparse.Namespace, common: CommonSettings) -> int:
    """Read, judge, compare, write; the last line of stdout is the summary as JSON."""
    changed_limits = dict(_parse_limit(one) for one in args.set)
    for quantity in args.quantity or ():
        if quantity not in QUANTITIES:
            raise SettingsError(f"--quantity: there is no {quantity!r}; there are {', '.join(QUANTITIES)}")
    with _progress() as progress:
        histories, zone = _read_histories(args, common, progress)
        windows = labels.read_labels(args.labels, zone) if args.labels else []
        try:
            histories = [backtest.with_limits(one, changed_limits) for one in histories]
        except ValueError as error:
            raise SettingsError(f"--set: {error}") from error
        _make_folder(args.out)
        if args.cluster is None:
            core.warm_up()
        begun_s = time.perf_counter()
        judged = _judge_histories(histories, args.cluster, progress)
        seconds = time.perf_counter() - begun_s
        found: dict[str, Any] = {
            "series": len(judged),
            "readings": sum(len(one.time_s) for one in judged),
            "anomalies": sum(len(one.anomalies) for one in judged),
            "seconds": round(seconds, 3),
            "limits": changed_limits,
        }
        if args.labels:
            found |= backtest.backtest_metrics(judged, windows)
        outputs.write_anomalies(args.out / "anomalies.csv", judged)
        outputs.write_flags(args.out / "flags.parquet", judged)
        if args.plot:
            _draw_series(args, judged, windows, zone, progress)
    print(outputs.write_summary(args.out / "summary.json", found))
    return 0


def _read_histories(
    args: argparse.Namespace, common: CommonSettings, progress: Progress
) -> tuple[list[SeriesHistory], ZoneInfo]:
    """Return the histories, and the time zone of times that have none."""
    task = progress.add_task("reading", total=None)

    def more(n: int) -> None:
        progress.advance(task, n)

    if args.files:
        if args.mapping is None:
            raise SettingsError("backtest FILE needs --mapping MAPPING.toml; see docs/replay.md")
        recordings = recorded_devices.open_recordings(args.files, args.mapping)
        recorded_devices.read_recordings(recordings)
        zone = _zone_of_mapping(args.mapping)
        progress.update(task, total=sum(one.total() for one in recordings))
        histories = history_loading.histories_of_files(recordings, _reading_selection(args, zone), more)
        for one in recordings:
            for reason, count in one.skipped.items():
                print(f"left out of {one.device}: {count:,} {reason}", file=sys.stderr)
            for file_report in one.accounts:
                print(*file_report.notes, sep="\n", end="\n" if file_report.notes else "", file=sys.stderr)
        progress.update(task, total=progress.tasks[task].completed)
        return histories, zone
    if not (args.site and args.from_ and args.to):
        raise SettingsError(
            "backtest needs files (FILE... --mapping), or --site, --from and --to of the database"
        )
    store = open_store(common, args)
    try:
        histories = history_loading.histories_of_store(store, _reading_selection(args, store.zone), more)
        command_audit.record_command(
            store, "backtest", command_audit.command_arguments(args, "site", "from_", "to", "out")
        )
    finally:
        store.close()
    progress.update(task, total=progress.tasks[task].completed)
    return histories, store.zone


def _judge_histories(
    histories: Sequence[SeriesHistory], cluster: str | None, progress: Progress
) -> list[JudgedHistory]:
    task = progress.add_task("judging", total=len(histories))
    try:
        return parallel.map_in_parallel(
            backtest.judge_history, histories, cluster=cluster, on_item_done=lambda: progress.advance(task)
        )
    except parallel.DaskClusterError as error:
        raise SettingsError(f"--cluster: {error}") from error


def _draw_series(
    args: argparse.Namespace,
    judged: Sequence[JudgedHistory],
    windows: Sequence[LabelWindow],
    zone: ZoneInfo,
    progress: Progress,
) -> None:
    most_anomalies_first = sorted(judged, key=lambda one: len(one.anomalies), reverse=True)
    chosen = most_anomalies_first[: max(args.max_plots, 0)]
    for one in progress.track(chosen, description="drawing"):
        name = outputs.series_name(one).replace("/", ".").replace(":", "_")
        series_plot.draw_series(args.out / f"{name}.png", one, windows, zone)


def _progress() -> Progress:
    """Return progress bars for the steps; disabled where stderr is no terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"--out {folder}: {error.strerror}") from error


def _parse_limit(text: str) -> tuple[str, float | None]:
    """Return a limit's name and value; ``nan`` gives None, which switches the limit off."""
    name, _, number = text.partition("=")
    try:
        value = float(number)
        return name.strip(), None if math.isnan(value) else value
    except ValueError as error:
        raise SettingsError(
            f"--set {text!r} can't be used: write LIMIT=NUMBER, like alarms_per_month=0.5"
        ) from error


def _reading_selection(args: argparse.Namespace, zone: ZoneInfo) -> ReadingSelection:
    times = {}
    for flag, name, text in (("--from", "from_s", args.from_), ("--to", "to_s", args.to)):
        if text is not None:
            try:
                times[name] = history_loading.parse_time(text, zone)
            except ValueError as error:
                raise SettingsError(f"{flag} {text!r} is no time: write it like 2019-06-01") from error
    selection = ReadingSelection(
        sites=frozenset(args.site) if args.site else None,
        quantities=frozenset(args.quantity) if args.quantity else None,
        **times,
    )
    if selection.to_s <= selection.from_s:
        raise SettingsError(f"--to {args.to} is not after --from {args.from_}")
    return selection


def _zone_of_mapping(mapping: Path) -> ZoneInfo:
    try:
        return ZoneInfo(file_mapping.load_mapping(mapping).time.zone)
    except MappingError as error:
        raise SettingsError(str(error)) from error
