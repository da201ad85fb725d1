"""Prints the readings of one driver of a site file as SenML packs, one a line: to try an instrument.

``python -m edge.drivers.print_readings site.toml sonde --packs 1``
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.drivers.driver_options import DriverOptionsError
from edge.drivers.registry import DRIVERS
from edge.wire import senml
from edge.wire.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.drivers import Driver


def open_driver(path: Path, name: str) -> Driver:
    """Create the driver of the table ``[driver.NAME]`` of a site file.

    Raises
    ------
    DriverOptionsError
        If there is no such table, no driver of its kind, or if an option is invalid.

    """
    try:
        tables = tomllib.loads(path.read_text("utf-8")).get("driver", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DriverOptionsError(f"{path} can't be read: {error}") from error
    table: Any = tables.get(name) if isinstance(tables, dict) else None
    if not isinstance(table, dict):
        raise DriverOptionsError(f"{path} has no table [driver.{name}]")
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in DRIVERS:
        raise DriverOptionsError(f"{path}, driver {name}: kind {kind!r} is not one of {', '.join(DRIVERS)}")
    return DRIVERS[kind]({key: value for key, value in table.items() if key != "kind"}, path.parent)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print packs until there are enough; faults of the instrument are printed to standard error."""
    parser = argparse.ArgumentParser(prog="python -m edge.drivers.print_readings", description=__doc__)
    parser.add_argument("site", type=Path, help="site file (TOML)")
    parser.add_argument("driver", help="name of one of its tables [driver.NAME]")
    parser.add_argument("--packs", type=int, help="end after this number of packs")
    args = parser.parse_args(arguments)
    try:
        driver = open_driver(args.site, args.driver)
    except EdgeError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    left = args.packs
    for pack in driver.packs():
        if pack is None:
            continue
        sys.stdout.write(senml.encode_json(pack.records).decode() + "\n")
        sys.stdout.flush()
        left = None if left is None else left - 1
        if left is not None and left <= 0:
            break
    return 0


if __name__ == "__main__":
    sys.exit(main())
