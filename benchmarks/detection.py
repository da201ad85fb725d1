"""How good detection is on recorded data that others labelled: one parameter set, no tuning by file.

NAB      novelty of each series, as the judge tells it; the benchmark's own rules (`benchmarks._nab`)
GECCO    deviation of the site, summed over its quantities; threshold of the training half, F1 by readings
SKAB     reference and Mahalanobis distance of the site, learned from 400 rows; threshold without labels
Logan    the judge's anomalies with the product's own limits, against the technicians' events

Where the data folder has a ``test.csv.gz`` of GECCO, the threshold of the training half is reported on it.
Prints tables with trivial and known baselines, and last one JSON line. Data: TOWNTWIN_DATA.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.progress import track

from analytics.core import evaluate, site
from analytics.core.judge import judge
from analytics.core.parameters import Parameters
from analytics.core.state import State
from benchmarks import _labelled, _logan, _nab

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DATA = Path(os.environ.get("TOWNTWIN_DATA", Path(__file__).parents[2] / "shared/data"))
SKAB_TRAINS = 400  # rows of each file
PUBLISHED = "published: ARTime 74.9, HTM 70.1, CAD OSE 69.9; traffic: CAD OSE 91.2, ARTime 86.9, HTM 82.5"


def novelty(time_s: Floats, value: Floats) -> Floats:
    """The judge's novelty of a series, 0 where it says nothing; rows whose time stands still say nothing."""
    later = np.diff(np.maximum.accumulate(time_s), prepend=-np.inf) > 0
    said = judge(
        State.empty(1), Parameters.of(1), np.zeros(later.sum(), np.intp), time_s[later], value[later]
    )
    found = np.zeros(len(value))
    found[later] = np.nan_to_num(said.novelty)
    return found


def of_nab() -> dict[str, float]:
    """The corpus, by profile and category."""
    files = _nab.corpus(DATA / "nab")
    scores = [novelty(one.time_s, one.value) for one in track(files, "NAB")]
    totals = {profile: _nab.total(files, scores, profile) for profile in _nab.PROFILES}
    threshold = totals["standard"][1]
    folders = sorted({one.name.split("/")[0] for one in files})
    print("\nNAB                             standard   low FP   low FN")
    print(
        f"towntwin, novelty             {'':2}" + "".join(f"{totals[name][0]:9.1f}" for name in _nab.PROFILES)
    )
    for name in _nab.baselines(np.zeros(10)):
        trivial = [_nab.baselines(one.value)[name] for one in files]
        shown = "".join(f"{_nab.total(files, trivial, profile)[0]:9.1f}" for profile in _nab.PROFILES)
        print(f"{name:32}{shown}")
    print(PUBLISHED)
    by_folder = {
        name: _nab.at_threshold(*_nab.of_folder(files, scores, name), "standard", threshold)
        for name in folders
    }
    print("by category, threshold of the corpus: " + ", ".join(f"{k} {v:.1f}" for k, v in by_folder.items()))
    print(f"false alarms: {_nab.false_a_day(files, scores, threshold):.3f} a series and day")
    print(f"thresholds chosen on the other categories alone: {left_out(files, scores, folders):.1f}")
    return {
        "nab_standard": totals["standard"][0],
        "nab_traffic": by_folder["realTraffic"],
        "nab_low_fp": totals["low_fp"][0],
        "nab_low_fn": totals["low_fn"][0],
    }


def left_out(files: list[_nab.File], scores: list[Floats], folders: list[str]) -> float:
    """The standard total if each category's threshold comes from the others."""
    points = 0.0
    for folder in folders:
        others = [i for i, one in enumerate(files) if not one.name.startswith(f"{folder}/")]
        rest = [files[i] for i in others], [scores[i] for i in others]
        _, threshold = _nab.total(*rest, "standard")
        here = _nab.of_folder(files, scores, folder)
        windows = sum(len(one.windows) for one in here[0])
        points += _nab.at_threshold(*here, "standard", threshold) * max(windows, 1)
    return points / sum(len(one.windows) for one in files)


def of_gecco() -> dict[str, float]:
    """The training half, in halves too; and the test half where it is."""
    whole = _labelled.gecco(DATA / "gecco2018/train.csv.gz")
    value = whole.value[:, None, :]
    reference = site.Reference.fit(value)
    score = site.distances(site.State.empty(reference.centre), reference, value).deviation[:, 0]
    best, threshold = best_f1(whole.event, score)
    print(
        f"\nGECCO 2018, training half: F1 {best:.3f} at its best threshold; always {always(whole.event):.3f}"
    )
    print("published on the other half: rolling MAD 0.43, sum of clipped deviations 0.54, supervised 0.66")
    found = {"gecco_train_f1": best}
    middle = len(value) // 2
    for learn, report in ((slice(0, middle), slice(middle, None)), (slice(middle, None), slice(0, middle))):
        part = site.Reference.fit(value[learn])
        score_of = site.distances(site.State.empty(part.centre), part, value).deviation[:, 0]
        _, chosen = best_f1(whole.event[learn], score_of[learn])
        print(
            f"threshold of one half, F1 on the other: {show(whole.event[report], score_of[report] > chosen)}"
        )
    other = DATA / "gecco2018/test.csv.gz"
    if other.exists():
        test = _labelled.gecco(other)
        state = site.State.empty(reference.centre)
        said = site.distances(state, reference, test.value[:, None, :]).deviation[:, 0] > threshold
        found["gecco_test_f1"] = evaluate.pointwise(test.event, said).f1
        print(f"test half: {show(test.event, said)}")
    return found


def of_skab() -> dict[str, float]:
    """All files pooled, after the rows that each learned from."""
    truth, said = [], []
    for one in track(list(_labelled.skab(DATA / "skab")), "SKAB"):
        value = one.value[:, None, :]
        reference = site.Reference.fit(value[:SKAB_TRAINS])
        off = site.distances(site.State.empty(reference.centre), reference, value).off[:, 0]
        truth.append(one.event[SKAB_TRAINS:])
        said.append(off[SKAB_TRAINS:])
    event, flagged = np.concatenate(truth), np.concatenate(said)
    print(f"\nSKAB: {show(event, flagged)}; always: {show(event, np.ones(len(event), bool))}")
    print("published F1 / FAR % / MAR %: Conv-AE 0.78 / 13.6 / 28.0, HalfSpaceTrees 0.71 / 35 / 28")
    found = evaluate.pointwise(event, flagged)
    return {"skab_f1": found.f1, "skab_far": 100 * found.far, "skab_mar": 100 * found.mar}


def best_f1(event: NDArray[np.bool_], score: Floats) -> tuple[float, float]:
    """The largest F1 of any threshold, and the threshold."""
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(event[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + event.sum())
    at = int(f1.argmax())
    return float(f1[at]), float(np.nextafter(score[order[at]], -np.inf))


def always(event: NDArray[np.bool_]) -> float:
    """F1 of flagging everything."""
    return evaluate.pointwise(event, np.ones(len(event), bool)).f1


def show(event: NDArray[np.bool_], flagged: NDArray[np.bool_]) -> str:
    """F1 and what is behind it."""
    found = evaluate.pointwise(event, flagged)
    return (
        f"F1 {found.f1:.3f} (precision {found.precision:.2f}, recall {found.recall:.2f}, "
        f"FAR {100 * found.far:.1f} %, MAR {100 * found.mar:.1f} %)"
    )


def main() -> None:
    """Evaluate all, print the tables and the line."""
    line = of_nab() | of_gecco() | of_skab() | _logan.evaluated(DATA / "logan_river")
    print(json.dumps({name: round(value, 3) for name, value in line.items()}))
