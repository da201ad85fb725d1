"""Sample readings, anomalies and a directory for tests of stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ingest_service.storage.contract.models import (
    READING,
    Anomaly,
    Area,
    Channel,
    Device,
    Directory,
    Link,
    Node,
    Series,
    Site,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ingest_service.storage.contract.store import Store

START_US = 1_790_000_000_000_000
STEP_US = 300_000_000
LATE = 64

DIRECTORY = Directory(
    areas=[
        Area(area_id="330400", level="city", en="Jiaxing", zh="嘉兴市"),
        Area(area_id="330483", parent="330400", level="county", en="Tongxiang", zh="桐乡市"),
        Area(area_id="330483-d1", parent="330483", level="town", en="Town", zh="镇"),
    ],
    sites=[
        Site(site_id="s1", area_id="330483-d1", kind="river_section", en="S", zh="断面", lon=120.5, lat=30.7)
    ],
    devices=[Device(device_id="d1", area_id="330483-d1"), Device(device_id="d2", area_id="330483-d1")],
    series=[
        Series(site_id="s1", quantity="ph", limits={"fail_high": 13.0}),
        Series(site_id="s1", quantity="turbidity"),
    ],
    channels=[
        Channel(device_id="d1", name="ph", site_id="s1", quantity="ph"),
        Channel(device_id="d1", name="turb", site_id="s1", quantity="turbidity"),
    ],
    nodes=[
        Node(
            node_id="n1",
            network="river",
            area_id="330483-d1",
            kind="source",
            en="N",
            zh="点",
            lon=120.4,
            lat=30.6,
        ),
        Node(
            node_id="n2",
            network="river",
            area_id="330483-d1",
            kind="section",
            en="N",
            zh="点",
            lon=120.5,
            lat=30.7,
            site_id="s1",
        ),
    ],
    links=[
        Link(
            link_id="l1",
            network="river",
            from_node="n1",
            to_node="n2",
            en="L",
            zh="段",
            length_m=900.0,
            speed_m_s=0.3,
            coordinates=[(120.4, 30.6), (120.5, 30.7)],
        )
    ],
)


def readings(
    series_id: int, ticks: range, *, rules: int = 0, quality: int = 1, add: float = 0.0
) -> NDArray[np.void]:
    rows = np.zeros(len(ticks), READING)
    rows["series_id"] = series_id
    rows["time_us"] = START_US + np.array(ticks) * STEP_US
    rows["received_us"] = rows["time_us"] + 1_000_000
    rows["value"] = np.array(ticks) + 0.25 + add
    rows["expected"] = np.where(np.array(ticks) % 2 == 0, np.nan, 7.5)
    rows["spread"] = rows["expected"] / 10
    rows["quality"], rows["rules"] = quality, rules
    return rows


def assert_same(found: NDArray[np.void], expected: NDArray[np.void]) -> None:
    """Assert that rows are equal, with NaN equal to NaN."""
    assert [repr(row) for row in found.tolist()] == [repr(row) for row in expected.tolist()]


def stored(store: Store, series_id: int = 1) -> NDArray[np.void]:
    return store.readings(series_id, START_US / 1e6, START_US / 1e6 + 1e6, limit=10**6)


def anomaly(**changed: Any) -> Anomaly:
    usual: dict[str, Any] = {
        "subject": "series/1",
        "site_id": "s1",
        "series_id": 1,
        "detector": "residual",
        "version": "1",
        "start_s": START_US / 1e6,
        "peak_s": START_US / 1e6,
        "observed": 9.5,
        "expected": 7.5,
        "spread": 0.1,
        "score": 20.0,
        "severity": 2,
        "n_readings": 1,
        "state": "open",
        "reason_en": "high",
        "reason_zh": "偏高",
        "evidence": {"rules": ["RESIDUAL"]},
    }
    return Anomaly(**{**usual, **changed})
