"""Calculate processors, memory and disk for a number of devices, from measured costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.settings import SettingsError

if TYPE_CHECKING:
    import argparse

    from deploy.settings import CommonSettings

GB = 1e9
BOUNDS = {  # of each flag, inclusive
    "devices": (1, 10_000_000),
    "quantities": (1, 1_000),
    "interval": (0.001, 31_536_000.0),
    "readings_per_message": (1, 100_000),
    "memory": (0.1, 1e6),
    "file_handles": (1, 1_000_000_000),
    "disk": (0.1, 1e9),
}
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
    parser.add_argument(
        "--memory",
        type=float,
        default=8.0,
        metavar="GB",
        help="for ingest and the broker (default %(default)s)",
    )
    parser.add_argument(
        "--file-handles",
        type=int,
        metavar="N",
        help="of the broker (default 65536, as deploy/install.sh sets)",
    )
    parser.add_argument("--disk", type=float, metavar="GB", help="for the readings of a year")
    parser.add_argument("--table", action="store_true", help="a Markdown table from a town to the nation")


def run(args: argparse.Namespace, common: CommonSettings) -> int:  # noqa: ARG001 - the signature of all commands
    """Print the calculation.

    Raises
    ------
    SettingsError
        If a number is missing or out of its bounds.

    """
    from deploy.capacity import area_levels, cost_model

    costs = cost_model.read_costs()
    if args.table:
        print(area_levels.markdown_table(costs))
        return 0
    if args.devices is None:
        raise SettingsError("--devices is missing: give the number of devices, or --table")
    per_message = args.quantities if args.readings_per_message is None else args.readings_per_message
    _check_bounds(args)
    load = cost_model.Load(args.devices, args.quantities, args.interval, per_message)
    machine = cost_model.Machine(
        args.memory * GB,
        cost_model.FILE_HANDLES if args.file_handles is None else args.file_handles,
        None if args.disk is None else args.disk * GB,
    )
    needed = cost_model.calculate(costs, load, machine)
    rates = f"{load.readings_per_s:,.1f} readings/s, {load.messages_per_s:,.1f} messages/s"
    print(f"{load.series:,} series, {rates}")
    for name, cores in needed.cores.items():
        print(f"{name}: {cores:.3f} cores")
    print(f"ingest: {needed.shards} shard(s), {needed.memory_bytes / MB:,.0f} MB resident")
    print(f"disk: {needed.disk_bytes_per_year / GB:,.1f} GB a year, not compressed")
    for i, limit in enumerate(needed.limits):
        prefix = "next limit" if i == 0 else "then"
        print(f"{prefix} at {limit.devices:,} devices: {limit.sentence}")
    print(f"Costs: {costs.measured}")
    return 0


def _check_bounds(args: argparse.Namespace) -> None:
    for name, (low, high) in BOUNDS.items():
        value = getattr(args, name)
        if value is not None and not low <= value <= high:
            flag = "--" + name.replace("_", "-")
            raise SettingsError(f"{flag} is from {low:,} to {high:,}, see towntwin capacity --help")
