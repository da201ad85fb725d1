"""Tests the source posterior of an anomaly on an enrolled river, from readings that the river model gives."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from analytics.errors import AnalyticsError
from analytics.service import missing_results, river_model, source_posterior, source_readings
from analytics.service.missing_results import MissingResult
from analytics.service.placement_report import placement_report
from analytics.service.source_posterior import SourcePosteriorAnswer
from ingest_service.storage.contract.models import (
    READING,
    Anomaly,
    Area,
    Directory,
    Link,
    Node,
    Series,
    Site,
)

START_S = 1_700_000_000.0
PLACE: dict[str, Any] = {"area_id": "t", "lat": 30.6, "lon": 120.5}
KINDS = {"in": "source", "a": "outfall", "b": "outfall", "k": "confluence", "up": "section", "end": "section"}
#  in ──▶ k ──▶ up ──▶ end     outfall a joins at k, above both sensors; b joins at "end" below "up"
REACHES = [
    ("in", "k", 2000.0),
    ("a", "k", 600.0),
    ("k", "up", 1500.0),
    ("up", "end", 3000.0),
    ("b", "end", 800.0),
]
SITES = ("up", "end")


def directory(quantities: tuple[str, ...] = ("ammonia_nitrogen", "discharge")) -> Directory:
    return Directory(
        areas=[Area(area_id="t", level="town", en="Town", zh="镇")],
        sites=[Site(site_id=one, kind="river_section", en=one, zh="点", **PLACE) for one in SITES],
        series=[
            Series(
                series_id=10 * number + place,
                site_id=site,
                quantity=quantity,
                interval_s=600.0,
            )
            for place, site in enumerate(SITES, 1)
            for number, quantity in enumerate(quantities)
        ],
        nodes=[
            Node(
                node_id=name,
                network="river",
                kind=kind,
                site_id=name if name in SITES else None,
                en=name,
                zh="点",
                **PLACE,
            )
            for name, kind in KINDS.items()
        ],
        links=[
            Link(
                link_id=f"{tail}:{head}",
                network="river",
                from_node=tail,
                to_node=head,
                en="Canal",
                zh="运河",
                length_m=length_m,
                speed_m_s=0.25,
            )
            for tail, head, length_m in REACHES
        ],
    )


def anomaly(series_id: int | None = 2) -> Anomaly:
    return Anomaly(
        subject="site/end",
        site_id="end",
        series_id=series_id,
        detector="residual",
        version="1",
        start_s=START_S,
        peak_s=START_S,
        score=9.0,
        severity=3,
        n_readings=3,
        state="open",
        reason_en="up",
        reason_zh="升",
    )


def plume(time_s: np.ndarray[Any, Any], arrival_s: float, peak: float) -> np.ndarray[Any, Any]:
    value: np.ndarray[Any, Any] = peak * np.exp(-0.5 * ((time_s - arrival_s) / 2400) ** 2)
    return value


def readings(at_up: bool, discharge: float = 5.0) -> Any:  # noqa: FBT001 - a case
    """Return a reader: a plume at "end" from START_S on, and 3,000 m before it at "up" if ``at_up``."""

    def read(series_id: int, from_s: float, to_s: float) -> Any:
        times = np.arange(np.ceil(from_s / 600) * 600, to_s, 600.0)
        rows = np.zeros(len(times), READING)
        rows["series_id"], rows["time_us"] = series_id, (times * 1e6).astype(np.int64)
        if series_id > 10:
            rows["value"] = rows["expected"] = discharge
            return rows
        arrival_s = START_S + 4000 - (12_000 if series_id == 1 else 0)
        present = at_up or series_id == 2
        rows["expected"], rows["spread"] = 0.4, 0.03
        rows["value"] = 0.4 + (plume(times, arrival_s, 1.5) if present else 0)
        return rows

    return read


def infer(*, at_up: bool, **options: Any) -> SourcePosteriorAnswer:
    found = source_posterior.infer_sources(directory(), anomaly(), readings(at_up, **options))
    assert isinstance(found, SourcePosteriorAnswer), found
    return found


def test_a_plume_at_both_sensors_came_from_above_both() -> None:
    found = infer(at_up=True)
    assert found.quantity == "ammonia_nitrogen"
    assert found.candidates[0].node_id in {"a", "in"}
    assert sum(one.probability for one in found.candidates) == pytest.approx(1)
    assert next(one.probability for one in found.candidates if one.node_id == "b") < 0.05
    assert found.sensors == ["end", "up"]
    assert (found.n_detects > 5, found.n_non_detects > 50) == (True, True)


def test_a_plume_that_passed_no_sensor_above_came_from_below_it() -> None:
    found = infer(at_up=False)
    assert found.candidates[0].node_id == "b"
    assert found.candidates[0].probability > 0.9
    assert found.credible_90 == ["b"]
    first = found.candidates[0]
    assert first.released_from_s <= first.released_s <= first.released_to_s < START_S + 4000


def test_a_greater_release_that_passes_another_site_is_not_taken_for_the_source_of_the_event() -> None:
    """The demo's discharge was traced to the outfall of a slug 20 km above, whose cloud others read."""

    def read(series_id: int, from_s: float, to_s: float) -> Any:
        rows = readings(at_up=False)(series_id, from_s, to_s)
        if series_id == 1:  # too late to reach "end" in time
            rows["value"] += plume(rows["time_us"] / 1e6, START_S + 18_000, 6.0)
        return rows

    alone, whole = (
        source_posterior.infer_sources(directory(), anomaly(), read, is_whole_event=is_whole)
        for is_whole in (False, True)
    )
    assert isinstance(alone, SourcePosteriorAnswer)
    assert isinstance(whole, SourcePosteriorAnswer)
    assert alone.candidates[0].node_id in {"a", "in"}, "one release has to explain all that was read"
    assert whole.candidates[0].node_id == "b"
    assert whole.credible_90 == ["b"]
    assert whole.sensors == ["end", "up"], "what the other site reads is still an upper bound"
    assert whole.n_detects < alone.n_detects


def with_monitored_outfall(measured: Directory) -> Directory:
    """Add sensors of concentration (series 5) and discharge (series 15) at the outfall a."""
    measured.sites.append(Site(site_id="a", kind="outfall", en="a", zh="点", **PLACE))
    for series_id, quantity in ((5, "ammonia_nitrogen"), (15, "discharge")):
        measured.series.append(Series(series_id=series_id, site_id="a", quantity=quantity, interval_s=600.0))
    measured.nodes = [
        msgspec.structs.replace(one, site_id="a") if one.node_id == "a" else one for one in measured.nodes
    ]
    return measured


def test_an_outfall_that_lets_out_thrice_the_flow_of_the_model_counts_with_thrice_its_reading() -> None:
    """The demo's sewage, read at its outfall and at a section, was traced to the next outfall."""
    measured = with_monitored_outfall(directory(("ammonia_nitrogen",)))
    part = river_model.whole_river(measured)
    read, begin_s = readings(at_up=True, discharge=3 * river_model.OUTFALL_M3_S), START_S - 20_000
    history, _ = river_model.flow_history(measured, part, read, begin_s=begin_s, n_steps=20)
    series = {"a": 5, "up": 1, "end": 2}
    rows = source_readings.sensor_rows(part, series, read, begin_s, 20)
    assert rows is not None
    found = source_readings.as_loads(
        rows, part, history, discharge_series={"a": 15}, read=read, begin_s=begin_s
    )
    at_outfall = np.array([part.nodes[at].node_id == "a" for at in rows.node])
    assert 0 < at_outfall.sum() < len(at_outfall)
    for column in ("value", "noise"):
        before, after = getattr(rows, column), getattr(found, column)
        assert after[at_outfall] == pytest.approx(3 * before[at_outfall])
        assert np.array_equal(after[~at_outfall], before[~at_outfall])


def test_an_anomaly_at_a_monitored_outfall_is_traced_to_it() -> None:
    measured = with_monitored_outfall(directory())
    at_outfall = msgspec.structs.replace(anomaly(None), site_id="a")
    found = source_posterior.infer_sources(measured, at_outfall, readings(at_up=True))
    assert isinstance(found, SourcePosteriorAnswer)
    assert found.candidates[0].node_id == "a"
    assert found.candidates[0].probability > 0.9


def test_the_amount_follows_the_measured_discharge() -> None:
    small, large = infer(at_up=False), infer(at_up=False, discharge=50.0)
    assert small.candidates[0].amount_kg is not None
    assert large.candidates[0].amount_kg is not None
    assert large.candidates[0].amount_kg[1] == pytest.approx(10 * small.candidates[0].amount_kg[1], rel=0.3)


def test_without_a_discharge_no_amount_is_given() -> None:
    found = source_posterior.infer_sources(directory(("ammonia_nitrogen",)), anomaly(), readings(at_up=True))
    assert isinstance(found, SourcePosteriorAnswer)
    assert {one.amount_kg for one in found.candidates} == {None}


def test_where_there_is_no_posterior_there_is_the_reason() -> None:
    """It was null, and an engineer could not find out why."""

    def clean(series_id: int, from_s: float, to_s: float) -> Any:
        rows = readings(at_up=False)(series_id, from_s, to_s)
        rows["value"] = rows["expected"]
        return rows

    def silent(series_id: int, from_s: float, to_s: float) -> Any:
        return clean(series_id, from_s, to_s)[:0]

    read, whole = readings(at_up=True), directory()
    cases = {
        "no_traced_quantity": (directory(("dissolved_oxygen", "discharge")), read),
        "off_network": (msgspec.structs.replace(whole, nodes=[], links=[]), read),
        "no_source_upstream": (msgspec.structs.replace(whole, nodes=without_sources(whole)), read),
        "no_readings": (whole, silent),
        "nothing_detected": (whole, clean),
    }
    for code, (known, reader) in cases.items():
        found = source_posterior.infer_sources(known, anomaly(), reader)
        assert isinstance(found, MissingResult), code
        assert found.code == code
        assert found.en
        assert found.zh


def without_sources(known: Directory) -> list[Node]:
    """Return the nodes with confluences in place of outfalls and inflows."""
    return [msgspec.structs.replace(one, kind="confluence") for one in known.nodes]


def test_what_a_posterior_lacks_has_its_reason() -> None:
    found = infer(at_up=False)
    assert (found.arrivals, found.arrivals_missing) == ([], missing_results.NOTHING_DOWNSTREAM)
    assert (found.extra_sample is None) == (found.sample_missing is not None)


def test_sensors_are_suggested_where_outfalls_become_traceable() -> None:
    found = placement_report(
        directory(), readings(at_up=False), n_sensors=3, amount_kg=20, limit_mg_l=0.1, now_s=START_S
    )
    assert found.n_outfalls == 2
    assert found.rows[0].node_id == "end", "the one node that both outfalls pass"
    assert found.rows[0].has_site
    assert found.rows[-1].outfalls_traceable == 2
    assert {one.node_id for one in found.rows}.isdisjoint({"a", "b"})


def test_the_one_outfall_of_a_river_is_traceable_where_it_is_detected() -> None:
    """The report recommended a place with which 0 of 1 outfalls were traceable."""
    one = directory()
    one.nodes = [node for node in one.nodes if node.node_id != "b"]
    one.links = [link for link in one.links if link.from_node != "b"]
    found = placement_report(
        one, readings(at_up=False), n_sensors=3, amount_kg=20, limit_mg_l=0.1, now_s=START_S
    )
    assert [(row.node_id, row.value, row.separated, row.outfalls_traceable) for row in found.rows] == [
        ("end", 1, 1, 1)
    ]


def test_a_river_without_outfalls_is_a_sentence() -> None:
    empty = directory()
    empty.nodes = [one for one in empty.nodes if one.node_id not in {"a", "b"}]
    empty.links = [one for one in empty.links if one.from_node not in {"a", "b"}]
    with pytest.raises(AnalyticsError, match="no outfall"):
        placement_report(
            empty, readings(at_up=False), n_sensors=3, amount_kg=20, limit_mg_l=0.1, now_s=START_S
        )
