"""Write the monthly report of a town, county or city, in Chinese or English, as HTML or PDF."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from analytics.service.reports.translations import LANGUAGES
from deploy.command_resources import open_store
from deploy.settings import SettingsError

if TYPE_CHECKING:
    import argparse

    from deploy.settings import CommonSettings
    from ingest_service.storage.postgres.store import PostgresStore

MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--area", required=True, help="a town, county or city by its id")
    parser.add_argument("--month", required=True, help="like 2026-10, by the towns' clocks")
    parser.add_argument("--language", choices=LANGUAGES, default="zh")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="ends in .pdf or .html")
    parser.add_argument(
        "--compute",
        action="store_true",
        help="assess the month first, where its data changed: for months that the service no longer looks at",
    )
    parser.add_argument("--index-file", type=Path, help="for --compute: TOML with the weights of the index")


def run(args: argparse.Namespace, common: CommonSettings) -> int:
    """Write the report; return 1 if the month has no assessment."""
    from analytics.service import reports
    from analytics.service.reports.errors import MissingExtraError
    from analytics.service.reports.report_data import NothingAssessedError
    from deploy import command_audit

    report_format = next((one for one in reports.FORMATS if args.out.suffix == f".{one}"), None)
    if report_format is None:
        raise SettingsError(f"--out {args.out}: let its name end in .pdf or .html")
    if not MONTH.fullmatch(args.month):
        raise SettingsError(f"--month {args.month!r} is no month: write it like 2026-10")
    store = open_store(common, args)
    try:
        if args.compute:
            _compute(store, args)
        report = reports.render_report(
            store,
            store.directory(),
            args.area,
            args.month,
            language=args.language,
            form=report_format,
        )
        command_audit.record_command(
            store, "report", command_audit.command_arguments(args, "area", "month", "language", "out")
        )
        args.out.write_bytes(report)
    except NothingAssessedError as error:
        print(error)
        return 1
    except MissingExtraError as error:
        raise SettingsError(str(error)) from error
    except OSError as error:
        raise SettingsError(f"--out {args.out}: {error.strerror}") from error
    finally:
        store.close()
    print(f"{args.out}: {len(report):,} bytes")
    return 0


def _compute(store: PostgresStore, args: argparse.Namespace) -> None:
    from analytics.service import monthly_assessment
    from analytics.service.monthly_assessment import index_weights
    from deploy import command_audit
    from ingest_service.storage.postgres.assessments import Assessments

    try:
        weights = index_weights.read_index_rules(args.index_file)
    except index_weights.IndexRulesError as error:
        raise SettingsError(f"--index-file: {error}") from error
    newest_s = Assessments(store).newest_measured()
    if newest_s is not None:
        monthly_assessment.bring_up_to_date(store, args.month, weights, newest_s=newest_s)
        command_audit.record_command(
            store, "report compute", command_audit.command_arguments(args, "month", "index_file")
        )
