"""Runs a benchmark by name (``python -m benchmarks ingest``), or lists the names."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

BENCHMARKS_FOLDER = Path(__file__).parent


def main() -> int:
    """Run the named benchmark; return the exit code."""
    benchmark_names = sorted(
        path.stem
        for path in BENCHMARKS_FOLDER.iterdir()
        if not path.stem.startswith("_") and (path.suffix == ".py" or (path / "__init__.py").exists())
    )
    if len(sys.argv) < 2 or sys.argv[1] not in benchmark_names:
        print(f"name one of: {', '.join(benchmark_names)}", file=sys.stderr)
        return 2
    import_module(f"benchmarks.{sys.argv[1]}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
