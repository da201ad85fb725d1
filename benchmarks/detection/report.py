"""Prints the tables of all detectors over all families; draws the curves."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from rich.progress import track

from benchmarks.detection import curves as drawing
from benchmarks.detection import families, left_out, product, reasons
from benchmarks.detection.baselines import BASELINES, LATE_READINGS
from benchmarks.detection.curves import OWN_RATE
from benchmarks.detection.score_cache import family_scores
from benchmarks.detection.scoring import BUDGETS, Curve, WorkingPoint, sweep, working_point
from benchmarks.detection.volume import mean_vus_pr

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from benchmarks.detection.labelled import Family, LabelledSeries
    from benchmarks.detection.scoring import Alarms

    Scores = NDArray[np.float64] | Alarms

PRODUCT = "towntwin, ranked by score"
DETECTORS: dict[str, Callable[[LabelledSeries], Scores]] = {
    PRODUCT: product.scores,
    OWN_RATE: product.anomalies,
    **BASELINES,
}
ONE_LINE = ("step", "Hampel 5", "Huber EWMA", "rolling MAD", "QARTOD spike + rate")
KIND_FAMILIES = ("oddwater", "injected", "simulated", "metrla")


class Row(NamedTuple):
    """A detector in a family.

    Attributes
    ----------
    one : the working point of one false alarm a series-month
    own : the working point of all of its alarms

    """

    curve: Curve
    vus_pr: float
    one: WorkingPoint
    own: WorkingPoint


Table = dict[str, dict[str, Row]]
"""Rows by family and detector."""


def evaluate_all(
    chosen: Sequence[Family], detectors: Mapping[str, Callable[[LabelledSeries], Scores]]
) -> Table:
    """Return what each detector finds in each family."""
    table: Table = {}
    for family in track(chosen, "families"):
        for name, detector in detectors.items():
            scores = family_scores(name, detector, family)
            curve = sweep(family, scores)
            late = LATE_READINGS.get(name, 0)
            points = (
                working_point(family, scores, level, late) for level in (curve.threshold_at(1.0), -np.inf)
            )
            table.setdefault(family.name, {})[name] = Row(curve, mean_vus_pr(family, scores), *points)
    return table


def print_family(family: Family, rows: Mapping[str, Row]) -> None:
    """Print the recall at the budgets, area, VUS-PR, delay and alarms an event of each detector."""
    print(
        f"\n{family.name}: {len(family.series)} series, {family.months:.1f} series-months, "
        f"{family.n_events} events"
    )
    own = rows[OWN_RATE].own
    if not family.n_events:
        print(f"towntwin by default raises {own.false:.2f} false alarms a series-month")
        return
    print(
        f"{'':28}"
        + "".join(f"{f'at {budget:g}':>8}" for budget in BUDGETS)
        + "    area VUS-PR   delay  alarms/event"
    )
    for name, row in rows.items():
        recalls = "".join(f"{row.curve.recall_at(budget):8.3f}" for budget in BUDGETS)
        print(
            f"{name:28}{recalls}{row.curve.area():8.3f}{row.vus_pr:7.3f}{row.one.delay_s / 60:6.0f} m"
            f"{row.one.alarms_per_event:11.2f}"
        )
    best = max(ONE_LINE, key=lambda name: rows[name].curve.recall_at(own.false))
    print(
        f"towntwin by default finds {own.recall:.3f} at {own.false:.2f} false alarms a series-month, "
        f"{own.alarms_per_event:.2f} alarms an event; "
        f"{best} at as many: {rows[best].curve.recall_at(own.false):.3f}"
    )


def print_means(table: Table) -> dict[str, float]:
    """Print the mean recall over the water families, and the margin of the product over the best one-line."""
    water = [name for name in families.WATER if name in table]
    print(f"\nmean over {len(water)} water families: {', '.join(water)}")
    means = {
        name: [
            float(np.mean([table[one][name].curve.recall_at(budget) for one in water])) for budget in BUDGETS
        ]
        for name in table[water[0]]
    }
    for name, recalls in means.items():
        print(f"{name:28}" + "".join(f"{recall:8.3f}" for recall in recalls))
    best = [max(means[name][i] for name in ONE_LINE) for i in range(len(BUDGETS))]
    own = [max(means[PRODUCT][i], means[OWN_RATE][i]) for i in range(len(BUDGETS))]
    print(
        f"{'towntwin − best one-line':28}" + "".join(f"{a - b:+8.3f}" for a, b in zip(own, best, strict=True))
    )
    return {f"water_recall_at_{budget:g}": recall for budget, recall in zip(BUDGETS, own, strict=True)}


def print_kinds(table: Table) -> None:
    """Print the events found by kind at one false alarm a series-month, of each detector."""
    for family in (name for name in KIND_FAMILIES if name in table):
        rows = table[family]
        print(f"\n{family}, found of each kind at 1 false alarm a series-month")
        print(f"{'':24}" + "".join(f"{name[:18]:>20}" for name in rows))
        for kind, (_, count) in next(iter(rows.values())).one.by_kind.items():
            shown = "".join(f"{row.one.by_kind[kind][0]:20}" for row in rows.values())
            print(f"{f'{kind} ({count})':24}{shown}")


def print_sites(family: Family, detectors: Mapping[str, Callable[[LabelledSeries], Scores]]) -> None:
    """Print the recall at one false alarm a series-month by site, thresholds chosen by site."""
    print(f"\n{family.name} by site, recall at 1 false alarm a series-month")
    sites = families.by_site(family)
    print(f"{'':28}" + "".join(f"{one.series[0].site[:18]:>20}" for one in sites))
    for name, detector in detectors.items():
        scores = dict(
            zip((one.name for one in family.series), family_scores(name, detector, family), strict=True)
        )
        recalls = [sweep(one, [scores[series.name] for series in one.series]).recall_at(1.0) for one in sites]
        print(f"{name:28}" + "".join(f"{recall:20.3f}" for recall in recalls))


def print_left_out(chosen: Sequence[Family], tunables: Sequence[left_out.Tunable] = left_out.TUNABLE) -> None:
    """Print the recall with constants chosen on the family itself beside that of the others' choice."""
    for tunable in tunables:
        print(f"\n{tunable.name}: constants chosen on the family | on the others, recall at {BUDGETS}")
        for name, found in left_out.leave_one_out(tunable, chosen).items():
            shown = (
                "  ".join(f"{recall:.3f}" for recall in part) for part in (found.in_family, found.left_out)
            )
            print(f"{name:26}{' | '.join(shown)}   {dict(found.constants)}")


def print_stated(table: Table, chosen: Sequence[Family], names: Sequence[str]) -> None:
    """Print the false alarms a series-month where the other families' thresholds state a budget."""
    print("\nfalse alarms a series-month, measured where the thresholds of the other families state a budget")
    print(f"{'':26}" + "".join(f"{name[:30]:>34}" for name in names))
    print(
        f"{'stated':26}"
        + "".join(f"{'':4}" + "".join(f"{budget:7g}" for budget in BUDGETS) + "  " for _ in names)
    )
    by_name = {
        name: left_out.stated_rates({one.name: table[one.name][name].curve for one in chosen}, chosen)
        for name in names
    }
    for family in chosen:
        print(
            f"{family.name:26}"
            + "".join(
                f"{'':4}" + "".join(f"{rate.measured:7.2f}" for rate in by_name[name][family.name]) + "  "
                for name in names
            )
        )


def main() -> None:
    """Evaluate everything, print the tables and one JSON line, and draw the curves with ``--picture``."""
    from benchmarks.detection import public_rules  # noqa: PLC0415 - loads what only this function needs

    parser = argparse.ArgumentParser(prog="python -m benchmarks detection")
    parser.add_argument("benchmark", nargs="?")
    parser.add_argument("--families", default=",".join(families.NAMES), help="names, separated by commas")
    parser.add_argument("--picture", type=Path, help="draw the curves of the water families")
    parser.add_argument(
        "--no-public-rules", action="store_true", help="skip NAB, GECCO and SKAB by their own rules"
    )
    arguments = parser.parse_args()
    chosen = [families.load(name) for name in arguments.families.split(",")]
    table = evaluate_all(chosen, DETECTORS)
    for family in chosen:
        print_family(family, table[family.name])
    line = print_means(table) if set(families.WATER) & set(table) else {}
    print_kinds(table)
    reasons.print_reasons(chosen)
    for family in (one for one in chosen if one.name == "logan"):
        print_sites(family, DETECTORS)
    water = [one for one in chosen if one.name in families.WATER]
    if len({left_out.origin(one) for one in water}) > 1:
        print_left_out(water)
        clean = [one for one in chosen if one.name == families.CLEAN]
        print_stated(table, water + clean, (PRODUCT, "step", "Huber EWMA"))
    if arguments.picture:
        drawing.draw_curves(arguments.picture, table, [one.name for one in water])
    if not arguments.no_public_rules:
        line |= public_rules.evaluate()
    print(json.dumps({name: round(value, 3) for name, value in line.items()}))
