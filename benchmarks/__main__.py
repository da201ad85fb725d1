"""Run a benchmark by its name: ``python -m benchmarks ingest``; without a name, say which there are."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    """Run what is named."""
    known = sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))
    if len(sys.argv) < 2 or sys.argv[1] not in known:
        print(f"name one of: {', '.join(known)}", file=sys.stderr)
        return 2
    import_module(f"benchmarks.{sys.argv[1]}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
