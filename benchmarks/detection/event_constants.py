"""Chooses constants of events and of the tails' prior, with one origin of data left out at a time.

Compiled functions contain their constants, so each setting is judged in a process of its own. The rule was
written down before the first setting was judged:

1. The parts of the families are grouped by origin. The stretches of `injected` and `clean` belong to the
   river that they were recorded in.
2. For each origin a setting is chosen on all others. Admissible is a setting whose mean recall over their
   water families, at 0.5 and at 1 false alarm a series-month, is at most `RECALL_TOLERANCE` below that of the
   first setting (the present one), and that raises at most `ALARMS_PER_EVENT` anomalies a found event in
   every family, or no more than the first setting does.
3. Of the admissible settings the one with the fewest false alarms at the default budget is chosen, by the
   mean over families; among those within `FALSE_TOLERANCE` of it, the one with the largest mean area.
4. Reported is what the chosen setting finds in the origin left out.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numba
import numpy as np

from benchmarks.detection import BUDGETS, evaluate, families, score_cache
from benchmarks.detection.scoring import working_point

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.detection.labelled import Family
    from benchmarks.detection.scoring import Alarms

HOUR_S = 3_600.0
RECALL_TOLERANCE, FALSE_TOLERANCE, ALARMS_PER_EVENT = 0.005, 0.02, 1.2
CLEAN = "clean"
RIVERS = {"logan": "observatory", "blacksmith": "observatory", "oddwater": "oddwater"}
"""Origin of each family of rivers."""
FAMILIES = (*RIVERS, "waterflow", "gecco", "simulated", "injected", CLEAN)
CODE_FOLDERS = ("analytics", "edge/wire", "benchmarks/detection")


class EventConstants(NamedTuple):
    """A setting: what `analytics.core.events` and `analytics.core.rarity` have under these names."""

    pause_share: float
    max_pause_s: float
    event_gap_readings: float
    jump_score: float
    prior_excursions: float

    def __str__(self) -> str:
        """Return the setting in short."""
        return (
            f"pause {self.pause_share:g} x, {self.max_pause_s / HOUR_S:g} h; "
            f"gap {self.event_gap_readings:g}; step {self.jump_score:g}; prior {self.prior_excursions:g}"
        )


SETTINGS = tuple(EventConstants(4.0, 24 * HOUR_S, 36.0, 7.5, prior) for prior in (60.0, 30.0, 20.0, 10.0))
"""Settings to choose from; the first is that of version 7 of the judge."""


class Outcome(NamedTuple):
    """What a setting finds in a part of a family.

    Attributes
    ----------
    origin : parts of one origin are left out together
    recall : at each of `BUDGETS`; none for `clean`
    false, found : by default: false alarms a series-month, share of the events
    alarms_per_event : by default, per event found
    delay_s : by default, median of the events found [s]
    open_share : share of the time in anomalies

    """

    origin: str
    recall: list[float]
    area: float
    false: float
    found: float
    alarms_per_event: float
    delay_s: float
    open_share: float
    months: float


Outcomes = dict[str, Outcome]
"""By the name of the part."""


def outcomes_of(setting: EventConstants) -> Outcomes:
    """Return what a setting finds, judged in this process, which must not have loaded the judge.

    Raises
    ------
    RuntimeError
        If the judge's constants are loaded already.

    """
    if "analytics.core.compiled.constants" in sys.modules:
        raise RuntimeError("the judge is loaded with other constants: evaluate a setting in a new process")
    from analytics.core import events, rarity  # noqa: PLC0415 - before the judge reads them

    events.PAUSE_SHARE, events.MAX_PAUSE_S = setting.pause_share, setting.max_pause_s
    events.EVENT_GAP_READINGS, rarity.JUMP_SCORE = setting.event_gap_readings, setting.jump_score
    values_per_excursion = rarity.PRIOR_VALUES / rarity.PRIOR_EXCURSIONS
    rarity.PRIOR_EXCURSIONS = setting.prior_excursions
    rarity.PRIOR_VALUES = setting.prior_excursions * values_per_excursion
    with tempfile.TemporaryDirectory() as folder:
        numba.config.CACHE_DIR = folder  # the usual cache has the kernel with other constants
        from analytics.core.compiled import kernel_cache  # noqa: PLC0415
        from benchmarks.detection import product  # noqa: PLC0415

        kernel_cache.COMPILES_HERE.set()  # another process would compile the constants of the files
        return {
            part.name: _outcome(part, origin, [product.anomalies(one) for one in part.series])
            for name in FAMILIES
            for part, origin in parts_of(families.load(name))
        }


def parts_of(family: Family) -> list[tuple[Family, str]]:
    """Return the parts of a family that are of one origin each, with it."""
    if family.name not in {"injected", CLEAN}:
        return [(family, RIVERS.get(family.name, family.name))]
    rivers = {one.name: origin for name, origin in RIVERS.items() for one in families.load(name).series}
    of = [rivers[one.name.rpartition(" ")[0]] for one in family.series]
    return [
        (
            family._replace(
                name=f"{family.name}/{origin}",
                series=[one for one, its in zip(family.series, of, strict=True) if its == origin],
            ),
            origin,
        )
        for origin in dict.fromkeys(of)
    ]


def _outcome(part: Family, origin: str, alarms: Sequence[Alarms]) -> Outcome:
    by_name = {one.name: its for one, its in zip(part.series, alarms, strict=True)}
    evaluation = evaluate(by_name, part)
    own = working_point(part, alarms, -np.inf)
    open_s = sum(float((one.end_s - one.start_s).sum()) for one in alarms)
    lasted_s = sum(float(one.time_s[-1] - one.time_s[0]) for one in part.series)
    return Outcome(
        origin,
        [evaluation.at[budget].recall for budget in BUDGETS] if part.n_events else [],
        evaluation.area,
        own.false,
        own.recall,
        own.alarms_per_event,
        own.delay_s,
        open_s / lasted_s,
        part.months,
    )


def all_outcomes(settings: Sequence[EventConstants]) -> dict[EventConstants, Outcomes]:
    """Return the outcomes of settings, from the cache if no code has changed, else each in a new process."""
    found = {}
    for setting in settings:
        path = (
            score_cache.FOLDER
            / f"constants-{sha256(f'{_code()} {setting!r}'.encode()).hexdigest()[:24]}.json"
        )
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(_in_a_new_process(setting)), encoding="utf-8")
        stored = json.loads(path.read_text(encoding="utf-8"))
        found[setting] = {name: Outcome(*row) for name, row in stored.items()}
        print(setting, flush=True)
    return found


def _in_a_new_process(setting: EventConstants) -> Outcomes:
    for name in FAMILIES:
        families.load(name)  # once, for all processes forked from this one
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        return pool.submit(outcomes_of, setting).result()


def _code() -> str:
    files = sorted(path for name in CODE_FOLDERS for path in (score_cache.REPOSITORY / name).rglob("*.py"))
    texts = (score_cache.without_texts(path) for path in files if path.name != Path(__file__).name)
    return sha256("".join(texts).encode()).hexdigest()


def choose(
    found: Mapping[EventConstants, Outcomes], without: str | None
) -> tuple[EventConstants, list[EventConstants]]:
    """Return the setting chosen without an origin by the rule of this module, and all admissible ones."""
    first = next(iter(found))
    chosen_on = [name for name, one in found[first].items() if one.origin != without]
    water = [name for name in chosen_on if found[first][name].recall]

    def recalls(setting: EventConstants) -> list[float]:
        rows = [found[setting][name].recall for name in water]
        return [float(np.mean([row[BUDGETS.index(budget)] for row in rows])) for budget in (0.5, 1.0)]

    def is_admissible(setting: EventConstants) -> bool:
        keeps_recall = all(
            own >= present - RECALL_TOLERANCE
            for own, present in zip(recalls(setting), recalls(first), strict=True)
        )
        return keeps_recall and all(
            found[setting][name].alarms_per_event
            <= max(ALARMS_PER_EVENT, found[first][name].alarms_per_event)
            for name in water
        )

    def false(setting: EventConstants) -> float:
        return float(np.mean([found[setting][name].false for name in chosen_on]))

    def area(setting: EventConstants) -> float:
        return float(np.mean([found[setting][name].area for name in water]))

    admissible = [one for one in found if is_admissible(one)]
    least = min(false(one) for one in admissible)
    return max((one for one in admissible if false(one) <= least + FALSE_TOLERANCE), key=area), admissible


def main() -> None:
    """Print what each setting finds, which one is chosen without each origin, and what it finds there."""
    found = all_outcomes(SETTINGS)
    first = SETTINGS[0]
    parts = list(found[first])
    clean = [name for name in parts if name.startswith(CLEAN)]
    water = [name for name in parts if found[first][name].recall]
    print(f"\n{'setting':42}clean   recall at {BUDGETS}   by default: false, anomalies an event, open share")
    for setting, outcomes in found.items():
        print(f"{setting!s:42}{_mean_row(outcomes, clean, water)}")
    for origin in dict.fromkeys(one.origin for one in found[first].values()):
        setting, admissible = choose(found, origin)
        print(f"\nwithout {origin}: {setting} ({len(admissible)} of {len(found)} admissible); in {origin}:")
        for name in (name for name in parts if found[first][name].origin == origin):
            print(f"  {name:22}{_row(found[first][name])}  ->  {_row(found[setting][name])}")
    print(f"\nwith all: {choose(found, None)[0]}")


def _mean_row(outcomes: Outcomes, clean: Sequence[str], water: Sequence[str]) -> str:
    months = sum(outcomes[name].months for name in clean)
    rate = sum(outcomes[name].false * outcomes[name].months for name in clean) / months
    recall = np.mean([outcomes[name].recall for name in water], axis=0)
    false, alarms, open_share = np.mean(
        [
            (outcomes[name].false, outcomes[name].alarms_per_event, outcomes[name].open_share)
            for name in water
        ],
        axis=0,
    )
    largest = max(outcomes[name].alarms_per_event for name in water)
    return (
        f"{rate:5.2f}   "
        + " ".join(f"{one:.3f}" for one in recall)
        + f"   {false:.2f}, {alarms:.2f} (most {largest:.2f}), {open_share:.4f}"
    )


def _row(one: Outcome) -> str:
    recall = " ".join(f"{value:.3f}" for value in one.recall) or f"{'':23}"
    return (
        f"{recall} default {one.found:.3f} at {one.false:.2f}, {one.alarms_per_event:.2f} an event, "
        f"{one.delay_s / 60:.0f} min, open {one.open_share:.4f}"
    )
