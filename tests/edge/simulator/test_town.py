"""Tests a simulated town: reproducible by seed, plausible, with gaps and planned faults."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

import msgspec
import pytest

from edge.simulator import (
    FaultKind,
    PlannedFault,
    SimulatedLink,
    SimulatedSite,
    Town,
    TownSpec,
    TownSpecError,
)
from edge.simulator.town import MISSED_TICK_SHARE, OUTAGE_SHARE, OUTAGE_TICKS
from edge.wire.quantities import QUANTITIES, to_canonical

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.drivers import Pack

HOUR_S = 3600.0
DAY_S = 86_400.0
PRESENT_S = 1_764_000_123.0
SONDE = (
    "water_temperature",
    "ph",
    "dissolved_oxygen",
    "conductivity",
    "turbidity",
    "ammonia_nitrogen",
    "water_level",
)
PLAUSIBLE = {  # in November
    "water_temperature": (8, 22),
    "ph": (7, 8.2),
    "dissolved_oxygen": (4, 12),
    "conductivity": (400, 700),
    "turbidity": (12, 90),
    "ammonia_nitrogen": (0.3, 1.2),
    "water_level": (0.8, 1.8),
    "discharge": (0.02, 0.3),
    "rainfall": (0, 12),
    "air_temperature": (0, 25),
    "traffic_flow": (0, 1800),
    "traffic_speed": (25, 75),
    "occupancy": (0, 30),
}
SPEC = TownSpec(
    simulated_sites=(
        SimulatedSite(device_id="r1", site_id="r1", kind="river_section", quantities=SONDE, node_id="r1"),
        SimulatedSite(
            device_id="o1",
            site_id="o1",
            kind="outfall",
            quantities=("discharge", "ph"),
            node_id="o1",
            phase_s=60,
        ),
        SimulatedSite(
            device_id="p1",
            site_id="p1",
            kind="rain_gauge",
            quantities=("rainfall", "air_temperature"),
            node_id="p1",
        ),
        SimulatedSite(
            device_id="s1",
            site_id="s1",
            kind="road_section",
            quantities=("traffic_flow", "traffic_speed", "occupancy"),
            node_id="s1",
        ),
    ),
    river=(
        SimulatedLink(from_node="q", to_node="o1", length_m=2000, speed_m_s=0.3),
        SimulatedLink(from_node="o1", to_node="r1", length_m=2000, speed_m_s=0.3),
        SimulatedLink(from_node="r1", to_node="m", length_m=30_000, speed_m_s=0.3),
    ),
    road=(SimulatedLink(from_node="s1", to_node="e", length_m=500, speed_m_s=15, lanes=2),),
    node_kinds={"q": "source", "o1": "outfall", "m": "mouth"},
)


def town(*plan: PlannedFault, seed: int = 7, days: float = 1.0) -> Town:
    return Town(SPEC, seed=seed, live_from_s=PRESENT_S, history_s=days * DAY_S, plan=plan)


def fault(kind: FaultKind, quantity: str, start_s: float, end_s: float, size: float = 0.0) -> PlannedFault:
    return PlannedFault(
        fault_id="f",
        kind=kind,
        site_ids=("r1",),
        device_ids=("r1",),
        quantities=(quantity,),
        start_s=start_s,
        end_s=end_s,
        size=size,
        find_within_s=HOUR_S,
        en="",
        zh="",
    )


def packs(
    of: Town, device: str, *, until_s: float = PRESENT_S + HOUR_S, start_s: float | None = None
) -> list[Pack]:
    return list(takewhile(lambda pack: pack.due_s < until_s, of.driver(device, start_s=start_s).packs()))


def series(
    of: Town, device: str, quantity: str, *, until_s: float = PRESENT_S + HOUR_S
) -> dict[float, float]:
    """Readings by seconds after the present, in the canonical unit."""
    conversion = to_canonical(QUANTITIES[quantity], None)
    return {
        record.time_s - PRESENT_S: (record.value or 0.0) * conversion.scale + conversion.offset
        for pack in packs(of, device, until_s=until_s)
        for record in pack.records
        if record.name == quantity
    }


def in_bytes(read: Sequence[Pack]) -> bytes:
    return msgspec.json.encode(list(read))


def test_the_same_seed_gives_the_same_bytes_in_whatever_order_devices_are_read() -> None:
    one, other = town(), town()
    forwards = {device: in_bytes(packs(one, device)) for device in ("r1", "o1", "p1", "s1")}
    interleaved = {device: other.driver(device).packs() for device in ("s1", "p1", "o1", "r1")}
    backwards: dict[str, list[Pack]] = {device: [] for device in interleaved}
    for _ in range(30):
        for device, source in interleaved.items():
            backwards[device].append(next(source))
    for device, read in backwards.items():
        assert forwards[device].startswith(in_bytes(read)[:-1])


def test_another_seed_gives_another_town() -> None:
    assert in_bytes(packs(town(seed=1), "r1")) != in_bytes(packs(town(seed=2), "r1"))


def test_a_driver_that_starts_later_hands_out_the_same_readings_from_there_on() -> None:
    start_s = PRESENT_S - 5 * HOUR_S
    full_run = [record for pack in packs(town(), "r1") for record in pack.records if record.time_s >= start_s]
    assert [record for pack in packs(town(), "r1", start_s=start_s) for record in pack.records] == full_run


def test_history_travels_twelve_ticks_a_message_and_the_present_one_by_one() -> None:
    read = packs(town(), "s1")
    history = [pack for pack in read if pack.due_s < PRESENT_S]
    live = [pack for pack in read if pack.due_s >= PRESENT_S]
    assert {len(pack.records) for pack in history[:-1]} <= {3 * ticks for ticks in range(9, 13)}
    assert len(history[0].records) == 36
    assert len(live) >= 11
    assert all(len(pack.records) == 3 for pack in live)


def test_packs_come_in_order_and_are_due_when_their_last_reading_is_measured() -> None:
    read = packs(town(), "o1")
    assert [pack.due_s for pack in read] == sorted(pack.due_s for pack in read)
    assert all(max(record.time_s for record in pack.records) == pack.due_s for pack in read)
    assert all(record.time_s % 300 == 60 for pack in read for record in pack.records)


def test_every_reading_is_in_the_wire_unit_and_what_a_town_may_show() -> None:
    for device in ("r1", "o1", "p1", "s1"):
        for pack in packs(town(days=3), device):
            for record in pack.records:
                conversion = to_canonical(QUANTITIES[record.name], record.unit)
                low, high = PLAUSIBLE[record.name]
                assert record.unit == QUANTITIES[record.name].wire_unit
                assert record.value is not None
                assert low <= record.value * conversion.scale + conversion.offset <= high


def test_gaps_come_at_the_stated_rate() -> None:
    days = 200.0
    times = series(town(days=days), "p1", "rainfall", until_s=PRESENT_S)
    expected = days * 288
    stated = MISSED_TICK_SHARE + OUTAGE_SHARE * sum(OUTAGE_TICKS) / 2
    assert 0.5 * stated < 1 - len(times) / expected < 1.7 * stated


def test_a_silent_device_sends_nothing_and_then_sends_again() -> None:
    plan = fault(FaultKind.SILENT, "ph", -3 * HOUR_S, 0.5 * HOUR_S)
    times = series(town(plan), "r1", "ph")
    assert not [since_s for since_s in times if plan.is_active(since_s)]
    assert max(times) > plan.end_s
    assert [since_s for since_s in times if since_s < plan.start_s]


def test_a_spike_stands_in_its_window_and_nowhere_else() -> None:
    plan = fault(FaultKind.SPIKE, "conductivity", -2 * HOUR_S, -2 * HOUR_S + 600, size=300.0)
    clean, spoilt = (series(one, "r1", "conductivity") for one in (town(), town(plan)))
    off = {
        since_s: spoilt[since_s] - clean[since_s] for since_s in clean if spoilt[since_s] != clean[since_s]
    }
    assert len(off) == 2
    assert all(plan.is_active(since_s) for since_s in off)
    assert all(value == pytest.approx(300.0, abs=0.2) for value in off.values())


def test_a_spike_is_never_lost_in_a_gap() -> None:
    for seed in range(20):
        plan = fault(FaultKind.SPIKE, "ph", -DAY_S, PRESENT_S, size=1.0)
        assert len(series(town(plan, seed=seed), "r1", "ph", until_s=PRESENT_S)) == 288


def test_a_drift_grows_to_its_size_and_ends_with_a_calibration() -> None:
    plan = fault(FaultKind.DRIFT, "ph", -12 * HOUR_S, -HOUR_S, size=1.5)
    clean, spoilt = (series(one, "r1", "ph") for one in (town(), town(plan)))
    off = {since_s: spoilt[since_s] - clean[since_s] for since_s in clean}
    halfway = min(off, key=lambda since_s: abs(since_s + 6.5 * HOUR_S))
    last = max(since_s for since_s in off if plan.is_active(since_s))
    assert off[halfway] == pytest.approx(0.75, abs=0.03)
    assert off[last] == pytest.approx(1.5, abs=0.03)
    assert {round(value, 2) for since_s, value in off.items() if not plan.is_active(since_s)} == {0.0}


def test_a_stuck_sensor_repeats_one_value_that_otherwise_moves() -> None:
    plan = fault(FaultKind.STUCK, "dissolved_oxygen", -6 * HOUR_S, -2 * HOUR_S)
    clean, spoilt = (series(one, "r1", "dissolved_oxygen") for one in (town(), town(plan)))
    assert len({value for since_s, value in spoilt.items() if plan.is_active(since_s)}) == 1
    assert len({value for since_s, value in clean.items() if plan.is_active(since_s)}) > 5


def test_a_device_that_the_town_does_not_have_is_named_with_those_it_has() -> None:
    with pytest.raises(TownSpecError, match="no device 'x': it has o1, p1, r1, s1"):
        town().driver("x")


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [("river_section", "no law for 'occupancy'"), ("road_section", "a detector has no 'ph'")],
)
def test_a_quantity_that_cannot_be_played_is_refused_at_once(kind: str, sentence: str) -> None:
    place = SimulatedSite(device_id="a", site_id="a", kind=kind, quantities=("occupancy", "ph"), node_id="s1")
    with pytest.raises(TownSpecError, match=sentence):
        Town(
            TownSpec(simulated_sites=(place,), road=SPEC.road), seed=1, live_from_s=PRESENT_S, history_s=DAY_S
        )
