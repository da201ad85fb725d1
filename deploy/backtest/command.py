"""Runs `towntwin backtest`: reads histories, judges them, compares with labels, writes the outcome."""

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
from deploy import audit, recorded
from deploy.backtest import labels, outputs, picture, sources
from deploy.backtest.sources import Stretch
from deploy.settings import SettingsError
from deploy.wiring import open_store
from edge.drivers import mapping as mappings
from edge.drivers.mapping import MappingError
from edge.wire.quantities import QUANTITIES

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from analytics.service.backtest import History, Judged, Window
    from deploy.settings import Common


def run(args: argparse.Namespace, common: Common) -> int:
    """Read, judge, compare, write; the last line of stdout is the summary as JSON."""
    changed = dict(_limit(one) for one in args.set)
    for quantity in args.quantity or ():
        if quantity not in QUANTITIES:
            raise SettingsError(f"--quantity: there is no {quantity!r}; there are {', '.join(QUANTITIES)}")
    with _progress() as progress:
        histories, zone = _read(args, common, progress)
        windows = labels.read(args.labels, zone) if args.labels else []
        try:
            histories = [backtest.with_limits(one, changed) for one in histories]
        except ValueError as error:
            raise SettingsError(f"--set: {error}") from error
        _make(args.out)
        if args.cluster is None:
            core.warm_up()
        begun_s = time.perf_counter()
        judged = _judge(histories, args.cluster, progress)
        seconds = time.perf_counter() - begun_s
        found: dict[str, Any] = {
            "series": len(judged),
            "readings": sum(len(one.time_s) for one in judged),
            "anomalies": sum(len(one.anomalies) for one in judged),
            "seconds": round(seconds, 3),
            "limits": changed,
        }
        if args.labels:
            found |= backtest.figures(judged, windows)
        outputs.anomalies(args.out / "anomalies.csv", judged)
        outputs.flags(args.out / "flags.parquet", judged)
        if args.plot:
            _draw(args, judged, windows, zone, progress)
    print(outputs.summary(args.out / "summary.json", found))
    return 0


def _read(args: argparse.Namespace, common: Common, progress: Progress) -> tuple[list[History], ZoneInfo]:
    """The histories, and the zone of times that name none."""
    task = progress.add_task("reading", total=None)

    def more(n: int) -> None:
        progress.advance(task, n)

    if args.files:
        if args.mapping is None:
            raise SettingsError("backtest FILE needs --mapping MAPPING.toml; see docs/replay.md")
        recordings = recorded.open_all(args.files, args.mapping)
        recorded.read_all(recordings)
        zone = _zone(args.mapping)
        progress.update(task, total=sum(one.total() for one in recordings))
        histories = sources.of_files(recordings, _stretch(args, zone), more)
        for one in recordings:
            for why, count in one.skipped.items():
                print(f"left out of {one.device}: {count:,} {why}", file=sys.stderr)
            for account in one.accounts:
                print(*account.notes, sep="\n", end="\n" if account.notes else "", file=sys.stderr)
        progress.update(task, total=progress.tasks[task].completed)
        return histories, zone
    if not (args.site and args.from_ and args.to):
        raise SettingsError(
            "backtest needs files (FILE... --mapping), or --site, --from and --to of the database"
        )
    store = open_store(common, args)
    try:
        histories = sources.of_store(store, _stretch(args, store.zone), more)
        audit.note(store, "backtest", audit.told(args, "site", "from_", "to", "out"))
    finally:
        store.close()
    progress.update(task, total=progress.tasks[task].completed)
    return histories, store.zone


def _judge(histories: Sequence[History], cluster: str | None, progress: Progress) -> list[Judged]:
    task = progress.add_task("judging", total=len(histories))
    try:
        return parallel.each(backtest.judge, histories, cluster=cluster, done=lambda: progress.advance(task))
    except parallel.ClusterError as error:
        raise SettingsError(f"--cluster: {error}") from error


def _draw(
    args: argparse.Namespace,
    judged: Sequence[Judged],
    windows: Sequence[Window],
    zone: ZoneInfo,
    progress: Progress,
) -> None:
    most_first = sorted(judged, key=lambda one: len(one.anomalies), reverse=True)
    chosen = most_first[: max(args.max_plots, 0)]
    for one in progress.track(chosen, description="drawing"):
        name = outputs.name(one).replace("/", ".").replace(":", "_")
        picture.draw(args.out / f"{name}.png", one, windows, zone)


def _progress() -> Progress:
    """A bar a step, on the terminal; nothing on a pipe."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"--out {folder}: {error.strerror}") from error


def _limit(text: str) -> tuple[str, float | None]:
    """A limit and its value; None, which switches it off, where that is written as ``nan``."""
    name, _, number = text.partition("=")
    try:
        value = float(number)
        return name.strip(), None if math.isnan(value) else value
    except ValueError as error:
        raise SettingsError(
            f"--set {text!r} can't be used: write LIMIT=NUMBER, like score_strong=5"
        ) from error


def _stretch(args: argparse.Namespace, zone: ZoneInfo) -> Stretch:
    given = {}
    for flag, name, text in (("--from", "from_s", args.from_), ("--to", "to_s", args.to)):
        if text is not None:
            try:
                given[name] = sources.moment(text, zone)
            except ValueError as error:
                raise SettingsError(f"{flag} {text!r} is no time: write it like 2019-06-01") from error
    stretch = Stretch(
        sites=frozenset(args.site) if args.site else None,
        quantities=frozenset(args.quantity) if args.quantity else None,
        **given,
    )
    if stretch.to_s <= stretch.from_s:
        raise SettingsError(f"--to {args.to} is not after --from {args.from_}")
    return stretch


def _zone(mapping: Path) -> ZoneInfo:
    try:
        return ZoneInfo(mappings.load(mapping).time.zone)
    except MappingError as error:
        raise SettingsError(str(error)) from error
