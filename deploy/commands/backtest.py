"""Judge recorded files or a time range of the database with limits of your choice; compare with labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from deploy.settings import CommonSettings

DEFAULT_PLOTS = 20


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="recorded CSV or Parquet files")
    parser.add_argument("--mapping", type=Path, help="which column is which site and quantity (TOML)")
    parser.add_argument("--site", action="append", help="only this site; without files, of the database")
    parser.add_argument("--quantity", action="append", help="only this quantity")
    parser.add_argument("--from", dest="from_", metavar="TIME", help="measured from then on (ISO 8601)")
    parser.add_argument("--to", metavar="TIME", help="measured before then (ISO 8601)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="LIMIT=NUMBER",
        help="a limit of the judge, for all series",
    )
    parser.add_argument(
        "--labels", type=Path, metavar="FILE", help="CSV: start, end and maybe site, quantity"
    )
    parser.add_argument("--out", type=Path, default=Path("backtest"), help="folder of what is written")
    parser.add_argument("--plot", action="store_true", help="draw each series, most anomalies first")
    parser.add_argument(
        "--max-plots", type=int, default=DEFAULT_PLOTS, help=f"draw at most so many ({DEFAULT_PLOTS})"
    )
    parser.add_argument(
        "--cluster", metavar="ADDRESS", help="a Dask scheduler, tcp://host:port; else threads"
    )


def run(args: argparse.Namespace, common: CommonSettings) -> int:
    """Read, judge, compare, write; the last line of stdout is the summary as JSON."""
    from deploy.backtest import command

    return command.run_backtest(args, common)
