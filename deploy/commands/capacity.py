"""Calculate processors, memory and disk for a number of devices, from measured costs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from deploy.settings import SettingsError

if TYPE_CHECKING:
    import argparse

    from deploy.settings import CommonSettings

GB = 1e9
MB = 1e6


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--devices", type=int, help="number of devices")
    parser.add_argument(
        "--quantities", type=int, default=4, help="quantities of a device (default %(default)s)"
    )
    parser.add_argument(
        "--interval",
        type=float,
        default=300.0,
        metavar="S",
        help="between two readings [s] (default %(default)s)",
    )
    parser.add_argument(
        "--readings-per-message", type=float, metavar="N", help="by default one of each quantity"
    )
    parser.add_argument("--table", action="store_true", help="a Markdown table from a town to the nation")


def run(args: argparse.Namespace, common: CommonSettings) -> int:  # noqa: ARG001 - the signature of all commands
    """Print the calculation.

    Raises
    ------
    SettingsError
        If a number is missing or not positive.

    """
    from deploy.capacity import area_levels, cost_model

    costs = cost_model.read_costs()
    if args.table:
        print(area_levels.markdown_table(costs))
        return 0
    if args.devices is None:
        raise SettingsError("--devices is missing: give the number of devices, or --table")
    per_message = args.quantities if args.readings_per_message is None else args.readings_per_message
    if not all(0 < one < math.inf for one in (args.devices, args.quantities, args.interval, per_message)):
        raise SettingsError(
            "--devices, --quantities, --interval and --readings-per-message are finite and greater than 0"
        )
    load = cost_model.Load(args.devices, args.quantities, args.interval, per_message)
    needed = cost_model.calculate(costs, load)
    rates = f"{load.readings_per_s:,.1f} readings/s, {load.messages_per_s:,.1f} messages/s"
    print(f"{load.series:,} series, {rates}")
    for name, cores in needed.cores.items():
        print(f"{name}: {cores:.3f} cores")
    print(f"ingest: {needed.shards} shard(s), {needed.memory_bytes / MB:,.0f} MB resident")
    print(f"disk: {needed.disk_bytes_per_year / GB:,.1f} GB a year, not compressed")
    for sentence in needed.limits:
        print(f"next limit at {sentence}")
    print(f"Costs: {costs.measured}")
    return 0
