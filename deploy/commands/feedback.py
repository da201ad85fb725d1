"""Record that an anomaly is a false alarm or confirmed, or withdraw that; this moves its series' limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy import argument_bounds
from deploy.command_resources import open_store

if TYPE_CHECKING:
    import argparse

    from deploy.settings import CommonSettings
    from ingest_service.storage.contract.models import Anomaly
    from ingest_service.storage.postgres.store import PostgresStore


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "anomaly", type=argument_bounds.identifier, metavar="ANOMALY", help="an anomaly by its number"
    )
    parser.add_argument("verdict", choices=["false-alarm", "confirmed", "withdraw"])
    parser.add_argument("--who", required=True, type=argument_bounds.name, help="whose word it is")
    parser.add_argument("--note", default="", type=argument_bounds.note, help="why")


def run(args: argparse.Namespace, common: CommonSettings) -> int:
    """Record or withdraw the verdict and print the moved limits; return 1 if there is no such anomaly."""
    from deploy import command_audit

    store = open_store(common, args)
    try:
        anomaly = store.anomaly(args.anomaly)
        if anomaly is None:
            print(f"there is no anomaly {args.anomaly}")
            return 1
        if not _give_or_withdraw(store, args):
            print(f"nothing stands of anomaly {args.anomaly} that could be withdrawn")
            return 1
        command_audit.record_command(
            store, "feedback", command_audit.command_arguments(args, "anomaly", "verdict", "who", "note")
        )
        print(_limits_sentence(store, anomaly))
        return 0
    finally:
        store.close()


def _give_or_withdraw(store: PostgresStore, args: argparse.Namespace) -> bool:
    if args.verdict == "withdraw":
        return store.withdraw_feedback(args.anomaly, who=args.who, note=args.note)
    return store.give_feedback(args.anomaly, args.verdict, who=args.who, note=args.note)


def _limits_sentence(store: PostgresStore, anomaly: Anomaly) -> str:
    """Return a sentence on how far the limits of the anomaly's series are moved."""
    for one in store.directory().series:
        if one.series_id == anomaly.series_id:
            return f"the score limits of {one.site_id}/{one.quantity} are moved by {one.score_shift:+g} now"
    return f"kept; an anomaly of {anomaly.subject} has no series whose limits could move"
