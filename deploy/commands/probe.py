"""Put a device's probes into maintenance, end it, record a calibration, or report drift and due dates."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING

from deploy import argument_bounds
from deploy.command_resources import open_store
from deploy.settings import SettingsError
from ingest_service.storage.contract import bounds

if TYPE_CHECKING:
    import argparse

    from deploy.settings import CommonSettings
    from ingest_service.storage.contract.models import Series
    from ingest_service.storage.postgres.maintenance import MaintenanceLog
    from ingest_service.storage.postgres.store import PostgresStore

MAX_AHEAD_S = 60.0  # of a technician's clock


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    actions = parser.add_subparsers(dest="action", required=True)
    for name, text in (("begin", "put a device into maintenance"), ("end", "end it")):
        action = actions.add_parser(name, help=text)
        action.add_argument("device", metavar="DEVICE")
        action.add_argument("--channel", action="append", help="only this channel; may be repeated")
        action.add_argument("--who", required=True, type=argument_bounds.name, help="who does the work")
        if name == "begin":
            minutes = argument_bounds.bounded_number(*bounds.MAINTENANCE_MINUTES)
            action.add_argument("--minutes", type=minutes, default=240.0, help="ends by itself after so long")
            action.add_argument("--note", default="", type=argument_bounds.note, help="what is done")
    action = actions.add_parser("calibrate", help="record what a probe read in a standard before and after")
    action.add_argument("site", metavar="SITE")
    action.add_argument("quantity", metavar="QUANTITY")
    for name in ("reference", "before", "after"):
        action.add_argument(
            f"--{name}", type=argument_bounds.bounded_number(*bounds.CALIBRATION_VALUES), required=True
        )
    action.add_argument("--at", type=datetime.fromisoformat, help="when, with offset; now by default")
    tolerance = argument_bounds.bounded_number(*bounds.CALIBRATION_TOLERANCES)
    action.add_argument("--tolerance", type=tolerance, help="error at which it is due again")
    action.add_argument("--who", required=True, type=argument_bounds.name, help="who calibrated it")
    action.add_argument("--note", default="", type=argument_bounds.note)
    action = actions.add_parser("report", help="drift per week and due date of each calibrated probe")
    action.add_argument("--site", help="of one site only")


def run(args: argparse.Namespace, common: CommonSettings) -> int:
    """Run the action; return 1 if it changes nothing."""
    from deploy import command_audit
    from ingest_service.storage.postgres.maintenance import MaintenanceLog

    store = open_store(common, args)
    try:
        log = MaintenanceLog(store)
        if args.action == "report":
            return _report(store, log, args.site)
        changed = _calibrate(store, log, args) if args.action == "calibrate" else _change(log, args)
        if not changed:
            return 1
        names = {"calibrate": ("site", "quantity", "reference", "before", "after", "who", "note")}
        command_audit.record_command(
            store,
            f"probe {args.action}",
            command_audit.command_arguments(args, *names.get(args.action, ("device", "channel", "who"))),
        )
        return 0
    finally:
        store.close()


def _change(log: MaintenanceLog, args: argparse.Namespace) -> bool:
    if args.action == "begin":
        count = log.begin(
            args.device, minutes=args.minutes, who=args.who, note=args.note, channels=args.channel
        )
        print(f"{count} series of {args.device} are in maintenance for {args.minutes:g} min")
    else:
        count = log.end(args.device, who=args.who, channels=args.channel)
        print(f"the maintenance of {count} series of {args.device} has ended")
    return count > 0


def _calibrate(store: PostgresStore, log: MaintenanceLog, args: argparse.Namespace) -> bool:
    if args.at is not None and args.at.tzinfo is None:
        raise SettingsError("--at needs an offset, such as 2026-11-28T09:30:00+08:00")
    if args.at is not None and args.at.timestamp() > time.time() + MAX_AHEAD_S:
        raise SettingsError(f"--at {args.at.isoformat()} lies in the future: give when it was calibrated")
    found = [
        one for one in store.directory().series if (one.site_id, one.quantity) == (args.site, args.quantity)
    ]
    if not found:
        print(f"there is no series {args.site}/{args.quantity}")
        return False
    is_new = log.calibrate(
        found[0].series_id,
        calibrated_s=time.time() if args.at is None else args.at.timestamp(),
        reference=args.reference,
        before=args.before,
        after=args.after,
        tolerance=args.tolerance,
        who=args.who,
        note=args.note,
    )
    print(_drift_line(store, log, found[0]) if is_new else "a calibration of this time is stored already")
    return is_new


def _report(store: PostgresStore, log: MaintenanceLog, site: str | None) -> int:
    lines = [
        line
        for one in store.directory().series
        if site in (None, one.site_id) and (line := _drift_line(store, log, one))
    ]
    print("\n".join(lines) or "no probe has been calibrated")
    return 0


def _drift_line(store: PostgresStore, log: MaintenanceLog, series: Series) -> str:
    from analytics.service.probe_reports import drift_of
    from edge.wire.quantities import QUANTITIES

    drift = drift_of(log.calibrations([series.series_id]), series.quantity)
    if drift is None:
        return ""
    unit = QUANTITIES[series.quantity].unit
    rate = "unknown" if drift.per_week is None else f"{drift.per_week:+.3g} {unit} a week"
    due = datetime.fromtimestamp(drift.due_s, store.zone)
    mark = " (overdue)" if drift.due_s < time.time() else ""
    return f"{series.site_id}/{series.quantity}: drift {rate}, due {due:%Y-%m-%d}{mark}"
