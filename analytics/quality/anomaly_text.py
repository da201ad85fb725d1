"""Builds the explanatory sentence of an anomaly in English and Chinese."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from analytics.core.events import MIN_SHIFT_S
from analytics.core.flags import Rule

if TYPE_CHECKING:
    from edge.wire.quantities import Quantity

HOUR_S = 3_600.0
DETECTOR_NAMES = {
    Rule.GROSS_RANGE: "gross_range",
    Rule.RATE_OF_CHANGE: "rate_of_change",
    Rule.SPIKE: "spike",
    Rule.FLAT_LINE: "flat_line",
    Rule.RESIDUAL: "residual",
    Rule.SHIFT: "shift",
    Rule.NOVELTY: "novelty",
    Rule.ATTENUATED: "attenuated_signal",
    Rule.NOISE: "noise",
    Rule.GAP: "gap",
}
"""The name under which each rule's anomalies are stored and queried."""

_TEMPLATES_EN = {
    Rule.GROSS_RANGE: "{label} {observed} is outside what can be ({limits})",
    Rule.RATE_OF_CHANGE: "{label} changed to {observed} by a step that is rare for this series{against}",
    Rule.SPIKE: "{label} jumped to {observed} and back{against}",
    Rule.FLAT_LINE: "{label} has stood still at {observed}: the sensor may be stuck",
    Rule.RESIDUAL: "{label} {observed} is {side}{against}",
    Rule.SHIFT: "{label} has moved away to {observed} and stays {side}{against}",
    Rule.NOVELTY: "{label} {observed} is beyond anything this series has done{against}",
    Rule.ATTENUATED: "{label} varies less than usual, at {observed}: the sensor may be fouled or stuck",
    Rule.NOISE: "{label} varies more from value to value than usual, at {observed}: the sensor may be noisy",
    Rule.GAP: "{label} was missing for longer or more often than usual, near {observed}",
}
_TEMPLATES_ZH = {
    Rule.GROSS_RANGE: "{label}为{observed}，超出可能范围（{limits}）",
    Rule.RATE_OF_CHANGE: "{label}突变至{observed}，变幅在该序列中罕见{against}",
    Rule.SPIKE: "{label}突跳至{observed}后回落{against}",
    Rule.FLAT_LINE: "{label}停在{observed}不变，传感器可能卡死",
    Rule.RESIDUAL: "{label}为{observed}，{side}{against}",
    Rule.SHIFT: "{label}持续偏移至{observed}，{side}{against}",
    Rule.NOVELTY: "{label}为{observed}，为该序列从未出现过的数值{against}",
    Rule.ATTENUATED: "{label}在{observed}附近波动小于平常，传感器可能被污染或卡滞",
    Rule.NOISE: "{label}在{observed}附近逐值波动大于平常，传感器可能有噪声",
    Rule.GAP: "{label}缺测的时间或次数超出平常，缺测前后为{observed}",
}
_LASTING_STEP = (
    "{label} moved by a step to {observed} and stays {side}{against}",
    "{label}突变至{observed}并持续，{side}{against}",
)
_DRIFT = (
    "{label} has drifted for {hours} h to {observed} and stays {side}{against}",
    "{label}在{hours}小时内逐渐漂移至{observed}，{side}{against}",
)
_DRIFT_AND_STEP = (
    "{label} has drifted, with a step within; after {hours} h it was at {observed}{against}",
    "{label}逐渐漂移，其间有突变，{hours}小时后为{observed}{against}",
)
_UNUSUAL_RANGE = (
    "{label} {observed} is outside its usual range ({limits})",
    "{label}为{observed}，超出通常范围（{limits}）",
)
_LEFT_RANGE = (
    "{label} was outside its limits ({limits}), near {observed}",
    "{label}曾超出限值（{limits}），在{observed}附近",
)
_IMPOSSIBLE_SHIFT = ("; it has moved away and stays", "；持续偏移")
_IMPOSSIBLE_STEP = ("; it changed by a step", "；数值突变")
_IMPOSSIBLE_DRIFT = ("; it has drifted for {hours} h", "；在{hours}小时内逐渐漂移")
_COURSES_OF_IMPOSSIBLE = {
    Rule.SPIKE: ("; it jumped there and back", "；突跳后回落"),
    Rule.RATE_OF_CHANGE: _IMPOSSIBLE_STEP,
    Rule.FLAT_LINE: ("; it has stood still", "；停止不变"),
    Rule.ATTENUATED: ("; it varies less than usual", "；波动小于平常"),
    Rule.NOISE: ("; it varies more from value to value than usual", "；逐值波动大于平常"),
}
"""End of the sentence of impossible values, by the rule that would name the event without them."""


class Course(NamedTuple):
    """Course of an event.

    Attributes
    ----------
    rise_s : time from its start to its peak [s]
    has_step : whether a step is in it
    began_with_step : whether it began with one
    of_impossible : the rule that would name it if its values were possible; 0 if there is none

    """

    rise_s: float
    has_step: bool
    began_with_step: bool = False
    of_impossible: Rule = Rule(0)

    @property
    def is_gradual(self) -> bool:
        """Return whether it departed gradually."""
        return self.rise_s >= MIN_SHIFT_S and not self.began_with_step


class AppliedRange(NamedTuple):
    """Gross range that a reading was checked with, canonical unit; NaN where there is no limit.

    Attributes
    ----------
    fail_low, fail_high : of what can be
    suspect_low, suspect_high : of what is usual

    """

    fail_low: float
    fail_high: float
    suspect_low: float = math.nan
    suspect_high: float = math.nan


def anomaly_sentences(
    rule: Rule,
    quantity: Quantity,
    *,
    observed: float,
    expected: float,
    spread: float,
    course: Course | None = None,
    applied_range: AppliedRange | None = None,
) -> tuple[str, str]:
    """Describe an event in English and in Chinese.

    Parameters
    ----------
    rule : rule that names the event
    quantity : gives the label and unit in the sentences
    observed, expected, spread : at the peak, in the canonical unit; NaN where unknown
    course : of a shift, whose sentence then states whether it is a drift or a lasting step; or of impossible
        values, whose sentence then ends in it
    applied_range : limits at the peak, quoted for a gross range; by default those of the quantity

    """
    has_expectation = math.isfinite(expected) and math.isfinite(spread) and spread > 0
    spreads_away = abs(observed - expected) / spread if has_expectation else math.nan
    above = has_expectation and observed > expected
    hours = course.rise_s / HOUR_S if course else 0.0
    values_shown = {
        "hours": f"{hours:.0f}",
        "observed": _with_unit(observed, quantity),
    }
    deviation_en = (
        f", {_ratio_text(spreads_away)} spreads from the expected {_with_unit(expected, quantity)}"
        if has_expectation
        else ""
    )
    deviation_zh = (
        f"，与预期{_with_unit(expected, quantity)}相差{_ratio_text(spreads_away, '超过')}倍离散度"
        if has_expectation
        else ""
    )
    side_en = ("above" if above else "below") + " what this hour expects" if has_expectation else "unusual"
    side_zh = ("高于" if above else "低于") + "此时段的预期" if has_expectation else "异常"
    english, chinese = _templates(rule, course)
    limits_en = limits_zh = ""
    if rule == Rule.GROSS_RANGE:
        applied_range = applied_range or AppliedRange(quantity.low, quantity.high)
        (range_en, range_zh), low, high = _range_templates(observed, applied_range)
        english = english.replace(_TEMPLATES_EN[rule], range_en)
        chinese = chinese.replace(_TEMPLATES_ZH[rule], range_zh)
        limits_en, limits_zh = _limits_text(low, high, quantity)
    return (
        english.format(
            label=quantity.en, side=side_en, against=deviation_en, limits=limits_en, **values_shown
        ),
        chinese.format(
            label=quantity.zh, side=side_zh, against=deviation_zh, limits=limits_zh, **values_shown
        ),
    )


def learning_clause(learned_days: float) -> tuple[str, str]:
    """Return the end of a reason for a series that was learned for so few days, in English and Chinese."""
    return (
        f"; new series, learned for {learned_days:.1f} days, judged in part by its quantity's usual values",
        f"；新接入序列，仅学习{learned_days:.1f}天，部分按该监测项的通常情况判别",
    )


def _templates(rule: Rule, course: Course | None) -> tuple[str, str]:
    """Return the sentences of a rule in English and Chinese; those of a shift differ by its course."""
    if rule == Rule.SHIFT and course is not None:
        if course.is_gradual:
            return _DRIFT_AND_STEP if course.has_step else _DRIFT
        if course.has_step:
            return _LASTING_STEP
    end_en, end_zh = _course_of_impossible(course) if rule == Rule.GROSS_RANGE and course else ("", "")
    return _TEMPLATES_EN[rule] + end_en, _TEMPLATES_ZH[rule] + end_zh


def _range_templates(observed: float, applied: AppliedRange) -> tuple[tuple[str, str], float, float]:
    """Return the sentences of a gross range and its limits, by the limit that the value is beyond."""
    fail_low, fail_high, suspect_low, suspect_high = applied
    if not (observed >= fail_low or math.isnan(fail_low)) or observed > fail_high or math.isinf(observed):
        return (_TEMPLATES_EN[Rule.GROSS_RANGE], _TEMPLATES_ZH[Rule.GROSS_RANGE]), fail_low, fail_high
    usual_low = fail_low if math.isnan(suspect_low) else suspect_low
    usual_high = fail_high if math.isnan(suspect_high) else suspect_high
    is_beyond = observed < usual_low or observed > usual_high
    # An event's peak is its highest score: that reading may be within the limits which another one left.
    return _UNUSUAL_RANGE if is_beyond else _LEFT_RANGE, usual_low, usual_high


def _limits_text(low: float, high: float, quantity: Quantity) -> tuple[str, str]:
    """Return a range in English and Chinese; a limit that is NaN does not exist."""
    if math.isnan(low) and math.isnan(high):
        return "none in force", "现无限值"
    if math.isnan(low):
        return f"at most {_with_unit(high, quantity)}", f"不高于{_with_unit(high, quantity)}"
    if math.isnan(high):
        return f"at least {_with_unit(low, quantity)}", f"不低于{_with_unit(low, quantity)}"
    return f"{low:g} to {_with_unit(high, quantity)}", f"{low:g}至{_with_unit(high, quantity)}"


def _course_of_impossible(course: Course) -> tuple[str, str]:
    """Return the end of the sentence of impossible values in English and Chinese."""
    if course.of_impossible == Rule.SHIFT:
        if course.is_gradual:
            return _IMPOSSIBLE_DRIFT
        return _IMPOSSIBLE_STEP if course.has_step else _IMPOSSIBLE_SHIFT
    return _COURSES_OF_IMPOSSIBLE.get(course.of_impossible, ("", ""))


def _with_unit(value: float, quantity: Quantity) -> str:
    unit = "" if quantity.unit in ("pH", "1") else f" {quantity.unit}"
    return f"{value:.4g}{unit}"


def _ratio_text(spreads_away: float, more_than: str = "over ") -> str:
    return f"{more_than}100" if spreads_away > 100 else f"{spreads_away:.1f}"
