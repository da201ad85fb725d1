"""Tests the traffic counter: definitions of the means, edges over periods, a radar at a serial port, GPIO."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.drivers.driver_options import DriverOptionsError
from edge.drivers.registry import DRIVERS
from edge.drivers.traffic_counter import PassageSource, TrafficCounter
from edge.drivers.traffic_period import TrafficAggregator

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.drivers import Pack


@given(st.lists(st.floats(0.5, 60.0), min_size=1, max_size=50))
def test_the_space_mean_speed_is_never_above_the_time_mean_speed(speeds: list[float]) -> None:
    """Wardrop: time-mean = space-mean + variance over space / space-mean."""
    detector = TrafficAggregator()
    for speed in speeds:
        detector.add_vehicle(speed)
    period = detector.finish(0.0, 300.0)
    assert period.space_mean_speed is not None
    assert period.time_mean_speed is not None
    assert min(speeds) * (1 - 1e-9) <= period.space_mean_speed <= period.time_mean_speed * (1 + 1e-9)
    assert period.flow == pytest.approx(len(speeds) / 300)
    # the vehicles over a metre of road at one time, each weighted by its stay there, have this mean speed
    weights = [1 / speed for speed in speeds]
    variance = sum(
        weight * (speed - period.space_mean_speed) ** 2 for weight, speed in zip(weights, speeds, strict=True)
    ) / sum(weights)
    assert period.time_mean_speed == pytest.approx(
        period.space_mean_speed + variance / period.space_mean_speed
    )


def test_a_vehicle_over_the_detector_is_counted_once_and_occupies_both_periods() -> None:
    detector = TrafficAggregator()
    detector.cover(50.0)
    first = detector.finish(0.0, 60.0)
    detector.uncover(66.0)
    second = detector.finish(60.0, 120.0)
    assert (first.vehicles, second.vehicles) == (1, 0)
    assert first.occupancy == pytest.approx(10 / 60)
    assert second.occupancy == pytest.approx(6 / 60)


def test_speed_is_estimated_from_flow_and_occupancy() -> None:
    """Ten vehicles of 6 m effective length in a minute, each 0.4 s over the detector: 15 m/s."""
    detector = TrafficAggregator(effective_length_m=6.0)
    for number in range(10):
        detector.cover(6.0 * number)
        detector.uncover(6.0 * number + 0.4)
    period = detector.finish(0.0, 60.0)
    assert period.space_mean_speed == pytest.approx(15.0)
    assert period.time_mean_speed is None


def test_a_trailer_and_lost_edges_are_no_vehicles_of_their_own() -> None:
    detector = TrafficAggregator(shortest_gap_s=0.2)
    for note, time_s in (
        (detector.cover, 1.0), (detector.cover, 1.1), (detector.uncover, 1.5), (detector.uncover, 1.6),
        (detector.cover, 1.6), (detector.uncover, 2.0), (detector.cover, 5.0), (detector.uncover, 5.5),
    ):  # fmt: skip
        note(time_s)
    period = detector.finish(0.0, 60.0)
    assert period.vehicles == 2
    assert period.occupancy == pytest.approx((0.5 + 0.4 + 0.5) / 60)


def test_no_vehicle_is_flow_zero_and_no_speed() -> None:
    assert [(one.name, one.value) for one in TrafficAggregator().finish(0.0, 60.0).records()] == [
        ("traffic_flow", 0.0)
    ]


class ScriptedSource:
    """Passages by a clock that the test moves: each call of collect is one step of it."""

    def __init__(self, clock: list[float], step_s: float, failing: Callable[[float], bool]) -> None:
        self._clock, self._step_s, self._failing = clock, step_s, failing

    def collect(self, aggregator: TrafficAggregator, timeout_s: float) -> None:
        assert timeout_s <= 0.1
        self._clock[0] += self._step_s
        if self._failing(self._clock[0]):
            raise OSError("the line is gone")
        aggregator.add_vehicle(10.0)

    def close(self) -> None:
        pass


def records_of(
    failing: Callable[[float], bool], steps: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[Pack], list[str]]:
    monkeypatch.setattr("edge.drivers.traffic_counter.RETRY_S", 0.0)
    clock = [1_700_000_010.0]

    def open_source() -> PassageSource:
        return ScriptedSource(clock, 10.0, failing)

    counter = TrafficCounter(open_source, TrafficAggregator(), period_s=60.0, clock=lambda: clock[0])
    faults: list[str] = []
    counter.on_fault = faults.append
    packs = counter.packs()
    return [pack for pack in (next(packs) for _ in range(steps)) if pack], faults


def test_periods_begin_at_multiples_and_the_first_incomplete_one_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packs, faults = records_of(lambda _now: False, 40, monkeypatch)
    assert [pack.records[0].time_s % 60 for pack in packs] == [0.0] * len(packs)
    assert packs[0].records[0].time_s == 1_700_000_100.0  # the period until …040 had begun before
    assert {pack.records[0].value for pack in packs} == {0.1}
    assert faults == []


def test_a_period_in_which_the_counter_failed_has_no_records(monkeypatch: pytest.MonkeyPatch) -> None:
    packs, faults = records_of(lambda now: now == 1_700_000_130.0, 40, monkeypatch)
    times = [pack.records[0].time_s for pack in packs]
    assert 1_700_000_100.0 in times
    assert 1_700_000_160.0 not in times
    assert 1_700_000_220.0 in times
    assert len(faults) == 1


def test_a_radar_at_a_serial_port_is_counted() -> None:
    radar, terminal = os.openpty()
    driver: Any = DRIVERS["traffic_counter"]({
        "port": os.ttyname(terminal), "pattern": r"V=(?P<speed>\d+) T=(?P<ms>\d+)", "period_s": 1.0,
    })  # fmt: skip
    packs = driver.packs()
    next(packs)
    found: list[Any] = []
    while len(found) < 2:
        os.write(radar, b"V=36 T=500\r\nboot\r\n") if not found else None
        pack = next(packs)
        found += [pack] if pack else []
    packs.close()
    os.close(radar)
    os.close(terminal)
    values = {one.name: one.value for one in found[0].records}
    assert values["traffic_speed"] == values["traffic_speed_time_mean"] == pytest.approx(10.0)
    assert 0 < values["occupancy"] <= 1
    assert {one.name: one.value for one in found[1].records}["traffic_flow"] >= 0


def test_gpio_edges_are_added_with_the_times_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's calls, as in its version 2; the lines themselves are a device's."""
    events = [(1, 1_000_000_000), (2, 1_500_000_000)]
    request = SimpleNamespace(
        wait_edge_events=lambda _timeout: True,
        read_edge_events=lambda: [SimpleNamespace(event_type=kind, timestamp_ns=at) for kind, at in events],
        release=lambda: None,
    )
    library = SimpleNamespace(
        LineSettings=SimpleNamespace,
        line=SimpleNamespace(Edge=SimpleNamespace(BOTH=3), Clock=SimpleNamespace(REALTIME=1)),
        EdgeEvent=SimpleNamespace(Type=SimpleNamespace(RISING_EDGE=1)),
        request_lines=lambda _chip, consumer, config: request if consumer and 17 in config else None,
    )
    monkeypatch.setitem(__import__("sys").modules, "gpiod", library)
    driver: Any = DRIVERS["traffic_counter"]({"line": 17})
    source = driver._open_source()
    detector = TrafficAggregator()
    source.collect(detector, 0.1)
    period = detector.finish(0.0, 10.0)
    assert period.vehicles == 1
    assert period.occupancy == pytest.approx(0.05)


@pytest.mark.parametrize(
    "options",
    [{}, {"line": 1, "port": "/dev/x"}, {"line": 1, "period_s": 0.0}, {"port": "x", "pattern": "("}],
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(DriverOptionsError):
        DRIVERS["traffic_counter"](options)
