"""Evaluates the events of sites (several series judged together): causes, and what they explain.

``python -m benchmarks causes [--sets simulated oddwater logan] [--picture docs/pictures/several.png]``, which
plots one event. Data: TOWNTWIN_DATA. The series are judged as if live, then site by site, in rounds.

- *simulated*, *oddwater*: events whose cause is known (`benchmarks._known_causes`). The table has those whose
  cause is named rightly and the causes named falsely, beside a baseline: the quantity with the largest score
  alone. Below it: how many anomalies of series remain as warnings and alarms of their own.
- *logan*: a year of the Logan River, three days at a time. For each detector the number of anomalies, and of
  those that coincide with an event of the technicians at the same site, who did not note the cause.

Last, one JSON line.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.progress import track

from analytics.service import site_anomalies, site_anomaly_builder, site_event_identity, site_scoring
from analytics.service.reading_grid import TICK_S
from analytics.service.service_state import SiteJudgingState
from analytics.service.settings import Settings
from benchmarks import _known_causes
from benchmarks.detection import rivers
from edge.wire.quantities import QUANTITIES as REGISTRY
from ingest_service.storage.contract import explanations
from ingest_service.storage.contract.models import AnomalyQuery, Area, Directory, Series, Site
from ingest_service.storage.memory.store import MemoryStore

if TYPE_CHECKING:
    from benchmarks._known_causes import KnownEvent
    from benchmarks.detection.labelled import LabelledSeries
    from ingest_service.storage.contract.models import Anomaly

AREA = "logan"
STEP_TICKS = 72 * 12
ROUND_TICKS = 12 * 12
WARNING = 2
EVENT_TOLERANCE_S = 6 * 3600.0  # largest distance to a technician's event that counts as coinciding
PLOT_MARGIN_S = 2 * 86_400.0  # shown before and after the event in the plot
NO_LIMIT = 10_000
COLORS = ("#1f4e79", "#c0392b", "#2e8b57", "#f28e2b", "#7a52a3", "#888888")


def main() -> None:
    """Evaluate the chosen sets."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks causes")
    parser.add_argument("benchmark", nargs="?")
    parser.add_argument("--sets", nargs="*", default=["simulated", "oddwater", "logan"])
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--days", type=float, default=366.0, help="judge the Logan River's sites so long")
    arguments = parser.parse_args()
    summary: dict[str, Any] = {}
    for name, load in (("simulated", _known_causes.simulated), ("oddwater", _known_causes.oddwater)):
        if name in arguments.sets:
            summary[name] = evaluate_known_causes(name, *load())
    if "logan" in arguments.sets:
        summary["logan"] = evaluate_logan(arguments)
    print(json.dumps(summary))


def evaluate_known_causes(name: str, store: MemoryStore, events: list[KnownEvent]) -> dict[str, Any]:
    """Judge the sites of a store, print the table of causes, and return its sums."""
    found = judge_rounds(store)
    by_score = _known_causes.score_causes(events, _known_causes.causes_by_largest_score(found, events))
    by_cause = _known_causes.score_causes(events, _known_causes.named_causes(found))
    print(f"\n{name}: {len(events)} events of known cause, {len(found)} events of sites")
    print(f"{'':24}{'events':>8}{'found':>8}{'named rightly':>16}{'by largest score':>20}")
    for kind in sorted(by_cause.events):
        counts = (one[kind] for one in (by_cause.events, by_cause.found, by_cause.right, by_score.right))
        print("{:24}{:8}{:8}{:16}{:20}".format(kind, *counts))
    print(f"false causes: {dict(by_cause.false)}; by largest score {by_score.false.total()}")
    series = [one for one in store.anomalies(AnomalyQuery(limit=NO_LIMIT)) if one.series_id is not None]
    explained = [one for one in series if "explained_by" in one.evidence]
    separate = sum(one.severity >= WARNING for one in series)
    judged = sum(explanations.as_judged(one).severity >= WARNING for one in series)
    print(f"anomalies of series: {len(series)}, {len(explained)} explained")
    print(f"warnings and alarms of series: {separate}, without explanations {judged}")
    return {
        "events": by_cause.events.total(),
        "right": by_cause.right.total(),
        "false": by_cause.false.total(),
        "baseline_right": by_score.right.total(),
        "baseline_false": by_score.false.total(),
        "separate": separate,
    }


def judge_rounds(store: MemoryStore) -> list[Anomaly]:
    """Judge all sites of a store, a round every half day; explain the anomalies; return the site events."""
    directory = store.directory()
    area = {one.site_id: one.area_id for one in directory.sites}
    series = {one.series_id: one for one in directory.series}
    newest = store.latest()
    areas = sorted({area[series[one.series_id].site_id] for one in newest})
    first, last = int(_first_time_s(store) // TICK_S), int(max(one.time_s for one in newest) // TICK_S)
    judging_state, settings = SiteJudgingState(), Settings()
    for tick in track(range(first + ROUND_TICKS, last + 1, ROUND_TICKS), "judging sites"):
        until = dict.fromkeys(areas, tick)
        found = site_anomalies.find_site_anomalies(store, settings, judging_state, until, models=NO_LIMIT)
        store.record_anomalies(found or [])
        site_anomalies.explain(store, settings, until)
    query = AnomalyQuery(detectors=site_anomaly_builder.DETECTORS, limit=NO_LIMIT)
    return [one for one in store.anomalies(query) if one.state != "withdrawn"]


def _first_time_s(store: MemoryStore) -> float:
    return min(
        float(store.readings(one.series_id, 0.0, one.time_s + 1.0, limit=1)["time_us"][0]) / 1e6
        for one in store.latest()
    )


def evaluate_logan(arguments: argparse.Namespace) -> dict[str, Any]:
    """Judge a year of the Logan River, print its table, and draw the plot with ``--picture``."""
    sondes = rivers.logan()
    store = fill_store(sondes)
    found = judge_year(store, sondes, arguments.days)
    windows = {site: _windows(sondes, site) for site in {_site(one) for one in sondes}}
    met = [one for one in found if _meets(one, windows[one.site_id])]
    span_s = max(one.time_s[-1] for one in sondes) - min(one.time_s[0] for one in sondes)
    days = min(span_s / 86_400, arguments.days)
    print(f"\nLogan River 2019, {len(windows)} sites, {days:.0f} days: anomalies of whole sites")
    print(f"{'':28}{'told':>8}{'met a technician’s event':>28}")
    detectors_reported, detectors_met = (
        Counter(one.detector for one in found),
        Counter(one.detector for one in met),
    )
    for name in sorted(detectors_reported):
        print(f"{name:28}{detectors_reported[name]:8}{detectors_met[name]:28}")
    if arguments.picture:
        plot_anomaly(arguments.picture, store, max(met or found, key=lambda one: len(one.evidence["of"])))
    return {"site_anomalies": len(found), "met": len(met), "site_days": round(days * len(windows))}


def fill_store(sondes: list[LabelledSeries]) -> MemoryStore:
    """Return a store with the sondes' readings, judged as if live."""
    store = MemoryStore()
    names = sorted({_site(one) for one in sondes})
    enrolled = store.enrol(
        Directory(
            areas=[Area(area_id=AREA, level="town", en="Logan River", zh="洛根河")],
            sites=[
                Site(site_id=name, area_id=AREA, kind="river_section", en=name, zh=name, lon=-111.8, lat=41.7)
                for name in names
            ],
            series=[
                Series(site_id=_site(one), quantity=one.quantity, interval_s=one.interval_s) for one in sondes
            ],
        )
    )
    series = {(one.site_id, one.quantity): one for one in enrolled.series}
    for sonde in track(sondes, "judging series"):
        _known_causes.store_series(store, series[_site(sonde), sonde.quantity], sonde.time_s, sonde.value)
    return store


def judge_year(store: MemoryStore, sondes: list[LabelledSeries], days: float) -> list[Anomaly]:
    """Return the anomalies of the sites, judged three days at a time."""
    first, last = (int(f(one.time_s[at] for one in sondes)) // TICK_S for f, at in ((min, 0), (max, -1)))
    last = min(last, first + round(days * 288))
    judging_state = SiteJudgingState()
    settings = Settings(several_reach_h=72)
    for tick in track(range(first + STEP_TICKS, last, STEP_TICKS), "judging sites"):
        found = site_anomalies.find_site_anomalies(
            store, settings, judging_state, {AREA: tick}, models=NO_LIMIT
        )
        store.record_anomalies(found or [])
    query = AnomalyQuery(detectors=site_anomaly_builder.DETECTORS, limit=NO_LIMIT)
    return [one for one in store.anomalies(query) if one.state != "withdrawn"]


def plot_anomaly(path: Path, store: MemoryStore, event: Anomaly) -> None:
    """Plot an anomaly: most deviating quantity, signed scores of all quantities, score of the site."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415 - an extra
    from matplotlib.figure import Figure  # noqa: PLC0415

    directory = store.directory()
    block = site_scoring.BLOCK_TICKS
    begin, end = (round((event.start_s + offset_s) // TICK_S) for offset_s in (-PLOT_MARGIN_S, PLOT_MARGIN_S))
    groups = site_scoring.site_groups(directory, {AREA: end}, {AREA: begin // block * block})
    models = site_scoring.ModelCache()
    site_scoring.fit_models(store, Settings(), models, groups, max_models=NO_LIMIT)
    results = site_scoring.score_groups(store, models, groups, dict.fromkeys(site_ids(directory), AREA))
    column = results.sites.index(event.site_id)
    time_s_of_tick = (results.first + np.arange(len(results.score))) * TICK_S
    times = time_s_of_tick.astype("datetime64[s]")
    figure = Figure(figsize=(10, 6.5), dpi=80, layout="constrained")
    values, scores, site_axes = figure.subplots(3, sharex=True)
    lead = event.evidence["quantities"][0]["quantity"]
    at = results.quantities.index(lead)
    values.plot(times, results.signals.value[:, column, at], color=COLORS[0], linewidth=0.9, label="value")
    values.plot(times, results.signals.expected[:, column, at], color="#9ecae1", label="expected")
    values.set_ylabel(f"{REGISTRY[lead].en}\n[{REGISTRY[lead].unit}]")
    for color, quantity in zip(COLORS, results.quantities, strict=False):
        signed = results.signals.signed[:, column, results.quantities.index(quantity)]
        scores.plot(times, signed, color=color, linewidth=0.9, label=REGISTRY[quantity].en)
    scores.set_ylabel("signed score")
    site_axes.plot(times, results.score[:, column], color=COLORS[0], linewidth=0.9, label="score of the site")
    site_axes.axhline(
        site_event_identity.SCORE_LIMITS["weak"], color="#888888", linestyle=":", label="weak evidence"
    )
    site_axes.set_ylabel("−log10 p")
    span = np.array([event.start_s, event.evidence["window"]["until_s"]]).astype("datetime64[s]")
    for axes in (values, scores, site_axes):
        axes.axvspan(span[0], span[1], color=COLORS[1], alpha=0.15, linewidth=0)
        axes.legend(loc="upper left", fontsize=7, ncols=3, frameon=False)
        axes.grid(visible=True, alpha=0.3)
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    site_axes.xaxis.set_major_locator(locator)
    site_axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    figure.suptitle(f"{event.site_id}: {event.reason_en}", fontsize=9)
    figure.savefig(path, pil_kwargs={"optimize": True})
    print(f"{path}: {event.site_id}, {np.datetime64(int(event.start_s), 's')}, {event.detector}")


def site_ids(directory: Directory) -> list[str]:
    """Return the ids of all sites."""
    return [one.site_id for one in directory.sites]


def _site(one: LabelledSeries) -> str:
    return one.site.removesuffix("2019")


def _windows(sondes: list[LabelledSeries], name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.concatenate([one.events for one in sondes if _site(one) == name])


def _meets(one: Anomaly, windows: np.ndarray[Any, np.dtype[np.float64]]) -> bool:
    end_s = one.evidence["window"]["until_s"]
    return bool(
        (
            (windows[:, 0] <= end_s + EVENT_TOLERANCE_S) & (windows[:, 1] >= one.start_s - EVENT_TOLERANCE_S)
        ).any()
    )


if __name__ == "__main__":
    main()
