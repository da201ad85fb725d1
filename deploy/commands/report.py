"""Write the monthly report of a town, county or city, in Chinese or English, as HTML or PDF."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from analytics.service.reports.words import LANGUAGES
from deploy.settings import SettingsError
from deploy.wiring import open_store

if TYPE_CHECKING:
    import argparse

    from deploy.settings import Common
    from ingest_service.storage.postgres import PostgresStore

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


def run(args: argparse.Namespace, common: Common) -> int:
    """Write the file; 1 where there is nothing to tell of."""
    from analytics.service import reports
    from analytics.service.reports.fonts import MissingError
    from analytics.service.reports.source import NothingError
    from deploy import audit

    form = next((one for one in reports.FORMATS if args.out.suffix == f".{one}"), None)
    if form is None:
        raise SettingsError(f"--out {args.out}: let its name end in .pdf or .html")
    if not MONTH.fullmatch(args.month):
        raise SettingsError(f"--month {args.month!r} is no month: write it like 2026-10")
    store = open_store(common, args)
    try:
        if args.compute:
            _compute(store, args)
        made = reports.make(
            store, store.directory(), args.area, args.month, language=args.language, form=form
        )
        audit.note(store, "report", audit.told(args, "area", "month", "language", "out"))
        args.out.write_bytes(made)
    except NothingError as error:
        print(error)
        return 1
    except MissingError as error:
        raise SettingsError(str(error)) from error
    except OSError as error:
        raise SettingsError(f"--out {args.out}: {error.strerror}") from error
    finally:
        store.close()
    print(f"{args.out}: {len(made):,} bytes")
    return 0


def _compute(store: PostgresStore, args: argparse.Namespace) -> None:
    from analytics.service import assessing
    from analytics.service.assessing import rules
    from deploy import audit
    from ingest_service.storage.assessments import Assessments

    try:
        weights = rules.read(args.index_file)
    except rules.RulesError as error:
        raise SettingsError(f"--index-file: {error}") from error
    newest_s = Assessments(store).newest_measured()
    if newest_s is not None:
        assessing.bring_up_to_date(store, args.month, weights, newest_s=newest_s)
        audit.note(store, "report compute", audit.told(args, "month", "index_file"))
