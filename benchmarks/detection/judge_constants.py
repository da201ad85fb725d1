"""Varies the constants of the judge and chooses them on all families but those of one origin.

Around the constants in use each is varied alone, by about a factor of two. Numba compiles constants in, so
each variant is judged in a process of its own, which patches `analytics.core.compiled.constants` before
the kernel is compiled; the area under the curve of its anomalies is kept in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import tempfile
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.detection import families, product
from benchmarks.detection.left_out import origin
from benchmarks.detection.score_cache import FOLDER, code_digest
from benchmarks.detection.scoring import BUDGETS, sweep, working_point

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.detection.labelled import Family

TAILS = {
    "prior": ("JUMP_PRIORS", "SPIKE_PRIORS", "NOISE_PRIORS", "STILL_PRIORS"),
    "noise": ("NOISE_PRIORS",),
    "jump": ("JUMP_PRIORS", "SPIKE_PRIORS"),
}
"""Tails whose prior weight (``prior``) or share of the budget a factor changes."""
IN_USE = "in use"
VARIANTS: dict[str, dict[str, float]] = {
    IN_USE: {},
    "prior of the tails × 0.4": {"prior": 0.4},
    "prior of the tails × 2.5": {"prior": 2.5},
    "clip of learned excesses 2": {"CLIPPED_EXCESSES": 2 / 3},
    "noise and calm, share × 2.5": {"noise": 2.5},
    "residual × 0.9": {"RESIDUAL_SHARE": 0.9},
    "residual × 1.1": {"RESIDUAL_SHARE": 1.1},
    "slow drift from 6.5 scales": {"DRIFT_LEAST": 1.3},
    "jumps in the band count 0.25": {"INSIDE_SHARE": 0.5},
    "jumps in the band count in full": {"INSIDE_SHARE": 2.0},
    "jump and spike, share × 0.7": {"jump": 0.7},
}
"""Factors of constants, by variant; ``prior``, ``noise`` and ``jump`` are those of the tails' priors."""


class Found(NamedTuple):
    """What the judge's anomalies find in a family.

    Attributes
    ----------
    area : mean recall over budgets of 0 to 2 false alarms a series-month
    recall : at each of `BUDGETS`
    own_false, own_recall : at the judge's own budget of 1

    """

    area: float
    recall: list[float]
    own_false: float
    own_recall: float


def evaluate_variants(chosen: Sequence[Family], processes: int = 2) -> dict[str, dict[str, Found]]:
    """Return what each variant finds, by variant and family."""
    code = code_digest(str(product.__file__))
    found: dict[str, dict[str, Found]] = {}
    paths = {}
    for name, factors in VARIANTS.items():
        key = f"{code}/{sorted(factors.items())}/{[one.name for one in chosen]}"
        paths[name] = FOLDER / f"variant {hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    missing = [name for name, path in paths.items() if not path.exists()]
    context = multiprocessing.get_context("fork")  # the families are loaded once; the kernel is not loaded
    with context.Pool(processes, maxtasksperchild=1) as pool:
        work = [(name, [one.name for one in chosen]) for name in missing]
        for name, results in pool.imap_unordered(_evaluate_variant, work):
            FOLDER.mkdir(parents=True, exist_ok=True)
            paths[name].write_text(json.dumps(results))
    for name, path in paths.items():
        found[name] = {family: Found(*values) for family, values in json.loads(path.read_text()).items()}
    return found


def choose_left_out(
    found: Mapping[str, Mapping[str, Found]], chosen: Sequence[Family]
) -> dict[str, tuple[str, str]]:
    """Return for each family the best variant on it, and the best on the families of other origins.

    A variant replaces the one in use only if its mean area is larger.
    """
    best = {}
    for family in chosen:
        others = [one.name for one in chosen if origin(one) != origin(family)]
        best[family.name] = (
            max(found, key=lambda name: found[name][family.name].area),
            max(found, key=lambda name: float(np.mean([found[name][other].area for other in others]))),
        )
    return best


def print_choice(chosen: Sequence[Family]) -> None:
    """Print each variant's mean, and per family the recall of the constants in use and of either choice."""
    water = [one for one in chosen if one.is_water]
    found = evaluate_variants(chosen)
    print("\nconstants of the judge: mean recall of the water families at the budgets, area; own rates")
    for name, by_family in found.items():
        recall = np.mean([by_family[one.name].recall for one in water], axis=0)
        area = float(np.mean([by_family[one.name].area for one in water]))
        own = " ".join(f"{by_family[one.name].own_false:5.2f}" for one in chosen)
        print(f"{name:32}" + "".join(f"{one:7.3f}" for one in recall) + f"  area {area:.3f}   {own}")
    print(f"\nrecall at {BUDGETS}: in use | chosen on the family | chosen on the others")
    for family, (inside, outside) in choose_left_out(found, water).items():
        shown = " | ".join(
            "  ".join(f"{recall:.3f}" for recall in found[name][family].recall)
            for name in (IN_USE, inside, outside)
        )
        print(f"{family:12}{shown}   {inside} | {outside}")


def _evaluate_variant(work: tuple[str, list[str]]) -> tuple[str, dict[str, Found]]:
    """Judge the families with a variant, in a process that has not loaded the kernel."""
    import numba  # noqa: PLC0415 - only here

    name, names = work
    with tempfile.TemporaryDirectory() as folder:
        numba.config.CACHE_DIR = folder  # the usual cache has the constants in use
        _patch(VARIANTS[name])
        results = {}
        for family in (families.load(one) for one in names):
            anomalies = [product.anomalies(one) for one in family.series]
            curve, own = sweep(family, anomalies), working_point(family, anomalies, -np.inf)
            results[family.name] = Found(
                curve.area(), [curve.recall_at(budget) for budget in BUDGETS], own.false, own.recall
            )
    return name, results


def _patch(factors: Mapping[str, float]) -> None:
    from analytics.core.compiled import constants  # noqa: PLC0415 - as above

    namespace: dict[str, Any] = vars(constants)
    for name, factor in factors.items():
        for constant in TAILS.get(name, ()):
            namespace[constant] = tuple(
                (*(factor * one for one in prior[:3]), prior[3])
                if name == "prior"
                else (*prior[:3], prior[3] + math.log10(factor))
                for prior in namespace[constant]
            )
        if name in namespace:
            namespace[name] *= factor
