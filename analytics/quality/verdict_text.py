"""Builds the sentence on whether a sensor measured an event or is faulty, in English and Chinese."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

SensorVerdictName = Literal["event", "sensor_fault", "undecided"]

DECIDED: Final = 0.8
"""Probability of one explanation from which on it is named; at one half 91 % are right (docs/twin.md)."""


class VerdictText(NamedTuple):
    """A verdict by name, and in a sentence."""

    name: SensorVerdictName
    en: str
    zh: str


def verdict_text(event_probability: float, n_others: int) -> VerdictText:
    """Return the verdict of a probability of an event.

    Parameters
    ----------
    event_probability : the rest is the probability of a fault of the sensor
    n_others : number of the sensors that it was compared with

    """
    if not n_others:
        return VerdictText(
            "undecided",
            "No other sensor is near enough, or what passed this one has not arrived there:"
            " whether it is an event or a sensor fault can't be distinguished yet.",
            "附近没有可比较的传感器，或变化尚未到达其他传感器，暂无法区分实际事件与传感器故障。",
        )
    en = f"{n_others} other sensor{'' if n_others == 1 else 's'} on the network"
    if event_probability >= DECIDED:
        return VerdictText(
            "event",
            f"Probably an event: {en} measured what belongs to it ({_percent(event_probability)}).",
            f"很可能是实际事件：网络上其他{n_others}个传感器的测值与之相符（{_percent(event_probability)}）。",
        )
    if event_probability <= 1 - DECIDED:
        fault = _percent(1 - event_probability)
        return VerdictText(
            "sensor_fault",
            f"Probably a fault of this sensor: {en} did not measure what would belong to an event ({fault}).",
            f"很可能是该传感器故障：网络上其他{n_others}个传感器未测到相应变化（{fault}）。",
        )
    return VerdictText(
        "undecided",
        f"Compared with {en}, an event has a probability of {_percent(event_probability)}: undecided.",
        f"与网络上其他{n_others}个传感器比较，实际事件的概率为{_percent(event_probability)}，尚不能判定。",
    )


def _percent(probability: float) -> str:
    return "> 99%" if probability > 0.99 else f"{probability:.0%}"
