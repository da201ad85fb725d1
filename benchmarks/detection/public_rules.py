"""Evaluates the product on NAB, GECCO 2018 and SKAB by their own rules, with one parameter set.

NAB      novelty of each series, as the judge returns it; its own rules (`benchmarks.detection.nab`)
GECCO    deviation of the site, summed over its quantities; threshold of the training half, F1 by readings
SKAB     reference and Mahalanobis distance of the site, learned from 400 rows; threshold without labels

Nothing is tuned by file. If the data folder has GECCO's ``test.csv.gz``, the training half's threshold is
evaluated on it.
Prints tables with trivial and known baselines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.progress import track

from analytics.core import evaluation, site_distances
from analytics.core.judge import judge
from analytics.core.parameters import Parameters
from analytics.core.state import State
from benchmarks.detection import nab, recordings
from benchmarks.detection.labelled import DATA

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SKAB_TRAINS = 400  # rows of each file
PUBLISHED = "published: ARTime 74.9, HTM 70.1, CAD OSE 69.9; traffic: CAD OSE 91.2, ARTime 86.9, HTM 82.5"


def novelty(time_s: Floats, value: Floats) -> Floats:
    """Return the judge's novelty (n,) of a series, 0 where there is none or the time does not advance."""
    later = np.diff(np.maximum.accumulate(time_s), prepend=-np.inf) > 0
    # A limit that nothing exceeds: the records are kept, and no event opens by them.
    parameters = Parameters.of(1, novelty_least=np.inf)
    flagged_by_judge = judge(
        State.empty(1), parameters, np.zeros(later.sum(), np.intp), time_s[later], value[later]
    )
    found = np.zeros(len(value))
    found[later] = np.nan_to_num(flagged_by_judge.novelty)
    return found


def evaluate_nab() -> dict[str, float]:
    """Evaluate the corpus by profile and category; return the scores."""
    files = nab.corpus(DATA / "nab")
    scores = [novelty(one.time_s, one.value) for one in track(files, "NAB")]
    totals = {profile: nab.best_total(files, scores, profile) for profile in nab.PROFILES}
    threshold = totals["standard"][1]
    folders = sorted({one.name.split("/")[0] for one in files})
    print("\nNAB                             standard   low FP   low FN")
    print(
        f"towntwin, novelty             {'':2}" + "".join(f"{totals[name][0]:9.1f}" for name in nab.PROFILES)
    )
    for name in nab.baselines(np.zeros(10)):
        trivial = [nab.baselines(one.value)[name] for one in files]
        shown = "".join(f"{nab.best_total(files, trivial, profile)[0]:9.1f}" for profile in nab.PROFILES)
        print(f"{name:32}{shown}")
    print(PUBLISHED)
    by_folder = {
        name: nab.score_at_threshold(*nab.files_of_category(files, scores, name), "standard", threshold)
        for name in folders
    }
    print("by category, threshold of the corpus: " + ", ".join(f"{k} {v:.1f}" for k, v in by_folder.items()))
    print(f"false alarms: {nab.false_alarms_per_day(files, scores, threshold):.3f} a series and day")
    print(
        "thresholds chosen on the other categories alone: "
        f"{leave_one_category_out(files, scores, folders):.1f}"
    )
    return {
        "nab_standard": totals["standard"][0],
        "nab_traffic": by_folder["realTraffic"],
        "nab_low_fp": totals["low_fp"][0],
        "nab_low_fn": totals["low_fn"][0],
    }


def leave_one_category_out(files: list[nab.CorpusFile], scores: list[Floats], folders: list[str]) -> float:
    """Return the standard total if each category's threshold is chosen on the others."""
    points = 0.0
    for folder in folders:
        others = [i for i, one in enumerate(files) if not one.name.startswith(f"{folder}/")]
        rest = [files[i] for i in others], [scores[i] for i in others]
        _, threshold = nab.best_total(*rest, "standard")
        files_and_scores = nab.files_of_category(files, scores, folder)
        windows = sum(len(one.windows) for one in files_and_scores[0])
        points += nab.score_at_threshold(*files_and_scores, "standard", threshold) * max(windows, 1)
    return points / sum(len(one.windows) for one in files)


def evaluate_gecco() -> dict[str, float]:
    """Evaluate the training half, split in two as well, and the test half if available; return F1."""
    training = recordings.load_gecco(DATA / "gecco2018/train.csv.gz")
    value = training.value[:, None, :]
    reference = site_distances.SiteReference.fit(value)
    score = site_distances.distances(
        site_distances.DistanceState.empty(reference.centre), reference, value
    ).deviation[:, 0]
    best, threshold = best_f1(training.event, score)
    print(
        f"\nGECCO 2018, training half: F1 {best:.3f} at its best threshold; always "
        f"{f1_of_always(training.event):.3f}"
    )
    print("published on the other half: rolling MAD 0.43, sum of clipped deviations 0.54, supervised 0.66")
    found = {"gecco_train_f1": best}
    middle = len(value) // 2
    for learn, report in ((slice(0, middle), slice(middle, None)), (slice(middle, None), slice(0, middle))):
        part = site_distances.SiteReference.fit(value[learn])
        score_of = site_distances.distances(
            site_distances.DistanceState.empty(part.centre), part, value
        ).deviation[:, 0]
        _, chosen = best_f1(training.event[learn], score_of[learn])
        print(
            "threshold of one half, F1 on the other: "
            f"{describe_scores(training.event[report], score_of[report] > chosen)}"
        )
    other = DATA / "gecco2018/test.csv.gz"
    if other.exists():
        test = recordings.load_gecco(other)
        state = site_distances.DistanceState.empty(reference.centre)
        flagged_by_judge = (
            site_distances.distances(state, reference, test.value[:, None, :]).deviation[:, 0] > threshold
        )
        found["gecco_test_f1"] = evaluation.pointwise_scores(test.event, flagged_by_judge).f1
        print(f"test half: {describe_scores(test.event, flagged_by_judge)}")
    return found


def evaluate_skab() -> dict[str, float]:
    """Evaluate all files pooled, without the rows that each is trained on."""
    truth, flagged_by_judge = [], []
    for one in track(list(recordings.load_skab(DATA / "skab")), "SKAB"):
        value = one.value[:, None, :]
        reference = site_distances.SiteReference.fit(value[:SKAB_TRAINS])
        off = site_distances.distances(
            site_distances.DistanceState.empty(reference.centre), reference, value
        ).off[:, 0]
        truth.append(one.event[SKAB_TRAINS:])
        flagged_by_judge.append(off[SKAB_TRAINS:])
    event, flagged = np.concatenate(truth), np.concatenate(flagged_by_judge)
    print(
        f"\nSKAB: {describe_scores(event, flagged)}; always: "
        f"{describe_scores(event, np.ones(len(event), bool))}"
    )
    print("published F1 / FAR % / MAR %: Conv-AE 0.78 / 13.6 / 28.0, HalfSpaceTrees 0.71 / 35 / 28")
    found = evaluation.pointwise_scores(event, flagged)
    return {"skab_f1": found.f1, "skab_far": 100 * found.far, "skab_mar": 100 * found.mar}


def best_f1(event: NDArray[np.bool_], score: Floats) -> tuple[float, float]:
    """Return the largest F1 of all thresholds, and its threshold."""
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(event[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + event.sum())
    at = int(f1.argmax())
    return float(f1[at]), float(np.nextafter(score[order[at]], -np.inf))


def f1_of_always(event: NDArray[np.bool_]) -> float:
    """Return the F1 of flagging everything."""
    return evaluation.pointwise_scores(event, np.ones(len(event), bool)).f1


def describe_scores(event: NDArray[np.bool_], flagged: NDArray[np.bool_]) -> str:
    """Return a text with F1, precision, recall, FAR and MAR."""
    found = evaluation.pointwise_scores(event, flagged)
    return (
        f"F1 {found.f1:.3f} (precision {found.precision:.2f}, recall {found.recall:.2f}, "
        f"FAR {100 * found.far:.1f} %, MAR {100 * found.mar:.1f} %)"
    )


def evaluate() -> dict[str, float]:
    """Evaluate NAB, GECCO and SKAB by their own rules; return the figures by name."""
    return evaluate_nab() | evaluate_gecco() | evaluate_skab()
