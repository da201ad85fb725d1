"""Evaluates the site anomalies (several series judged together) on a year of the Logan River; plots one.

``python -m benchmarks causes [--picture docs/pictures/several.png]``. Data: TOWNTWIN_DATA. The sondes are
judged as if live, then site by site with default settings, three days at a time. For each detector the table
has the number of anomalies, and of those that coincide with an event of the technicians at the same site;
nothing was tuned on these data. Last, one JSON line.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.progress import track

from analytics.core.judge import judge
from analytics.core.state import State
from analytics.quality import default_limits
from analytics.service import site_anomalies, site_anomaly_builder, site_scoring
from analytics.service.reading_grid import TICK_S
from analytics.service.service_state import SiteJudgingState
from analytics.service.settings import Settings
from benchmarks.detection import rivers
from edge.wire.quantities import QUANTITIES as REGISTRY
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import READING, AnomalyQuery, Area, Directory, Series, Site
from ingest_service.storage.memory.store import MemoryStore

if TYPE_CHECKING:
    from benchmarks.detection.labelled import LabelledSeries
    from ingest_service.storage.contract.models import Anomaly

AREA = "logan"
STEP_TICKS = 72 * 12
EVENT_TOLERANCE_S = 6 * 3600.0  # largest distance to a technician's event that counts as coinciding
PLOT_MARGIN_S = 2 * 86_400.0  # shown before and after the event in the plot
NO_LIMIT = 10_000
COLORS = ("#1f4e79", "#c0392b", "#2e8b57", "#f28e2b", "#7a52a3", "#888888")


def main() -> None:
    """Judge the year, print the table, and draw the plot with ``--picture``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks causes")
    parser.add_argument("benchmark", nargs="?")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--days", type=float, default=366.0, help="judge the sites over the first so many")
    arguments = parser.parse_args()
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
    print(
        json.dumps({"site_anomalies": len(found), "met": len(met), "site_days": round(days * len(windows))})
    )


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
        one = series[_site(sonde), sonde.quantity]
        value = sonde.value
        results = judge(
            State.empty(1),
            default_limits.judge_parameters([one]),
            np.zeros(len(value), np.intp),
            sonde.time_s,
            value,
        )
        rows = np.zeros(len(value), READING)
        rows["series_id"], rows["value"] = one.series_id, value
        rows["time_us"] = rows["received_us"] = np.rint(sonde.time_s * 1e6)
        for field in ("expected", "spread", "quality", "rules"):
            rows[field] = getattr(results, field)
        store.commit(Batch(fresh=rows))
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
        site_anomaly_builder.SCORE_LIMITS["weak"], color="#888888", linestyle=":", label="weak evidence"
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
