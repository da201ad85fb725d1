"""Report where further water-quality sensors make most outfalls traceable."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from analytics.service.reports.translations import LANGUAGES
from deploy.argument_bounds import bounded_integer, bounded_number
from deploy.command_resources import open_store
from deploy.settings import SettingsError

if TYPE_CHECKING:
    import argparse
    from zoneinfo import ZoneInfo

    from analytics.service.placement_report import PlacementReport, PlacementRow
    from analytics.service.reports import Format
    from deploy.settings import CommonSettings
    from ingest_service.storage.contract.models import Directory

MAX_SENSORS = 50


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    actions = parser.add_subparsers(dest="action", required=True)
    placement = actions.add_parser("placement", help="which nodes to give a sensor, one after the other")
    placement.add_argument(
        "--sensors", type=bounded_integer(1, MAX_SENSORS), default=5, help="how many at most (5)"
    )
    placement.add_argument(
        "--amount-kg", type=bounded_number(1e-3, 1e6), default=50.0, help="released at each outfall (50)"
    )
    placement.add_argument(
        "--limit-mg-l",
        type=bounded_number(1e-6, 1e6),
        default=0.1,
        help="above the usual, that a sensor detects (0.1)",
    )
    placement.add_argument(
        "--keep-existing", action="store_true", help="sensors that exist count in advance; else they compete"
    )
    placement.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    placement.add_argument(
        "--out", type=Path, metavar="FILE", help="write a report with map and recommendation: .pdf or .html"
    )
    placement.add_argument("--language", choices=LANGUAGES, default="zh", help="of the report (zh)")


def run(args: argparse.Namespace, common: CommonSettings) -> int:
    """Print the report or write it; return 1 if there is none."""
    import msgspec

    from analytics.errors import AnalyticsError
    from analytics.service import reports
    from analytics.service.placement_report import MAX_READINGS, placement_report

    report_format = next((one for one in reports.FORMATS if args.out and args.out.suffix == f".{one}"), None)
    if args.out and report_format is None:
        raise SettingsError(f"--out {args.out}: let its name end in .pdf or .html")
    store, now_s = open_store(common, args), time.time()
    try:
        directory = store.directory()
        report = placement_report(
            directory,
            lambda series_id, from_s, to_s: store.readings(series_id, from_s, to_s, limit=MAX_READINGS),
            n_sensors=args.sensors,
            amount_kg=args.amount_kg,
            limit_mg_l=args.limit_mg_l,
            now_s=now_s,
            keeps_existing=args.keep_existing,
        )
        if report_format is not None:
            _write(args, directory, report, zone=store.zone, now_s=now_s, form=report_format)
            return 0
    except AnalyticsError as error:
        print(f"towntwin: {error}", file=sys.stderr)
        return 1
    finally:
        store.close()
    print(msgspec.json.encode(report).decode() if args.json else _table(report))
    return 0


def _write(
    args: argparse.Namespace,
    directory: Directory,
    report: PlacementReport,
    *,
    zone: ZoneInfo,
    now_s: float,
    form: Format,
) -> None:
    from analytics.service import reports
    from analytics.service.reports.errors import MissingExtraError

    try:
        text = reports.render_placement(
            directory, report, zone=zone, now_s=now_s, language=args.language, form=form
        )
        args.out.write_bytes(text)
    except MissingExtraError as error:
        raise SettingsError(str(error)) from error
    except OSError as error:
        raise SettingsError(f"--out {args.out}: {error.strerror}") from error
    print(f"{args.out}: {len(text):,} bytes")


def _line(one: PlacementRow, n_outfalls: int) -> str:
    shares = f"{one.gain:>6.1%} {one.detected:>9.1%} {one.separated:>11.1%}"
    mark = " " if one.has_site else "+"
    traceable = f"{one.outfalls_traceable:>4} of {n_outfalls:<3}"
    return f"{one.rank:>3} {one.node_id:<20} {shares} {traceable} {mark} {one.en} {one.zh}"


def _table(report: PlacementReport) -> str:
    given = (
        f"{report.amount_kg:g} kg at each of {report.n_outfalls} outfalls; "
        f"a sensor detects {report.limit_mg_l:g} mg/L above the usual"
    )
    before = (
        f"with the {report.n_existing} sensors that exist {report.before.outfalls_traceable} of "
        f"{report.n_outfalls} outfalls are traceable, {report.before.detected:.1%} detected"
    )
    head = f"{'':>3} {'node':<20} {'gain':>6} {'detected':>9} {'separated':>11} {'traceable':>10}   name"
    lines = [_line(one, report.n_outfalls) for one in report.rows]
    return "\n".join([given, *([before] if report.n_existing else []), head, *lines, "+: no site there yet"])
