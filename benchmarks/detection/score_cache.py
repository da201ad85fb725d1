"""Keeps scores of detectors in the user's cache folder, keyed by code and data."""

from __future__ import annotations

import ast
import hashlib
import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.detection.scoring import Alarms

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from benchmarks.detection.labelled import Family, LabelledSeries

    Scores = NDArray[np.float64] | Alarms

FOLDER = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "towntwin/detection"
REPOSITORY = Path(__file__).parents[2]
PRODUCT = ("analytics", "edge/wire")
"""Folders of code that the product's judge depends on."""


def family_scores(name: str, detector: Callable[[LabelledSeries], Scores], family: Family) -> list[Scores]:
    """Return a detector's scores of every series of a family, from the cache if nothing has changed.

    Parameters
    ----------
    name : of the detector with its constants
    detector : it depends on the code of its module, and on the product's if it is outside ``baselines``

    """
    module = sys.modules[detector.__module__]
    digest = hashlib.sha256(f"{name}/{_code(str(module.__file__))}/{_data(family)}".encode()).hexdigest()
    path = FOLDER / f"{digest[:32]}.npz"
    if path.exists():
        with np.load(path) as stored:
            return [_unpacked(stored[str(number)]) for number in range(len(family.series))]
    scores = [detector(one) for one in family.series]
    FOLDER.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.tmp.npz")
    np.savez(partial, **{str(number): np.atleast_1d(one) for number, one in enumerate(scores)})  # type: ignore[arg-type]
    partial.replace(path)
    return scores


def _unpacked(stored: NDArray[np.float64]) -> Scores:
    return Alarms(*stored) if stored.ndim == 2 else stored  # start, end and score


@cache
def _code(module_file: str) -> str:
    files = [Path(module_file)]
    if Path(module_file).name != "baselines.py":
        files += sorted(path for folder in PRODUCT for path in (REPOSITORY / folder).rglob("*.py"))
    return hashlib.sha256("".join(without_texts(path) for path in files).encode()).hexdigest()


def without_texts(path: Path) -> str:
    """Return a module's syntax tree without docstrings, so that a new wording computes nothing anew."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value = ast.Constant(None)
    return ast.dump(tree)


def _data(family: Family) -> str:
    digest = hashlib.sha256()
    for one in family.series:
        digest.update(f"{one.name} {one.quantity} {one.interval_s} {one.resolution}".encode())
        digest.update(np.ascontiguousarray(one.time_s).tobytes())
        digest.update(np.ascontiguousarray(one.value).tobytes())
    return digest.hexdigest()
