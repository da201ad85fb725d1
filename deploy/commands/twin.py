"""Report where further water-quality sensors make most outfalls traceable."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from deploy.argument_bounds import bounded_integer, bounded_number
from deploy.command_resources import open_store

if TYPE_CHECKING:
    import argparse

    from analytics.service.placement_report import PlacementReport, PlacementRow
    from deploy.settings import CommonSettings

MAX_READINGS = 10_000
MAX_SENSORS = 100


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
    placement.add_argument("--json", action="store_true", help="one JSON document instead of a table")


def run(args: argparse.Namespace, common: CommonSettings) -> int:
    """Print the report; return 1 if there is none."""
    import msgspec

    from analytics.errors import AnalyticsError
    from analytics.service.placement_report import placement_report

    store = open_store(common, args)
    try:
        report = placement_report(
            store.directory(),
            lambda series_id, from_s, to_s: store.readings(series_id, from_s, to_s, limit=MAX_READINGS),
            n_sensors=args.sensors,
            amount_kg=args.amount_kg,
            limit_mg_l=args.limit_mg_l,
            now_s=time.time(),
        )
    except AnalyticsError as error:
        print(f"towntwin: {error}", file=sys.stderr)
        return 1
    finally:
        store.close()
    print(msgspec.json.encode(report).decode() if args.json else _table(report))
    return 0


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
    head = f"{'':>3} {'node':<20} {'gain':>6} {'detected':>9} {'separated':>11} {'traceable':>10}   name"
    lines = [_line(one, report.n_outfalls) for one in report.rows]
    return "\n".join([given, head, *lines, "+: no site there yet"])
