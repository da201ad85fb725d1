"""Adds the platform's users that a broker lacks to its configuration, for `deploy/install.sh`.

``python -m deploy.box.missing_users CONFIGURATION NEWEST``

The first is the file of Mosquitto's dynamic security plugin, while the broker is stopped; the second the one
that `python -m deploy.box` makes. Users that the broker has, such as those of devices, stay as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from deploy.box.broker_users import add_missing_users
from deploy.device_access.certificate_authority import write_private

USAGE_ERROR = 2


def main(argv: list[str] | None = None) -> int:
    """Add what is missing and print its names; return 2 for a file that can't be used."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.box.missing_users", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("configuration", type=Path, help="the plugin's file, which is changed")
    parser.add_argument("newest", type=Path, help="a configuration with all users of the platform")
    args = parser.parse_args(argv)
    try:
        configuration, newest = (json.loads(path.read_bytes()) for path in (args.configuration, args.newest))
        added = add_missing_users(configuration, newest)
        if added:
            _replace(args.configuration, json.dumps(configuration, indent=1).encode())
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"towntwin: {args.configuration}: {error}: the broker's users are unchanged", file=sys.stderr)
        return USAGE_ERROR
    print("\n".join(added) or "the broker has all users of the platform")
    return 0


def _replace(path: Path, content: bytes) -> None:
    """Replace a file at once; owner and mode stay."""
    before, staging = path.stat(), path.with_name(path.name + ".new")
    staging.unlink(missing_ok=True)
    write_private(staging, content)
    os.chown(staging, before.st_uid, before.st_gid)
    staging.chmod(before.st_mode & 0o777)
    staging.replace(path)


if __name__ == "__main__":
    sys.exit(main())
