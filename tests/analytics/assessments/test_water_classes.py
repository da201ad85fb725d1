"""Tests the GB 3838 water classes: values at limits, missing items, wrong units, single samples."""

from __future__ import annotations

import math

import pytest

from analytics.assessments import gb3838, trophic_level
from analytics.assessments.gb3838 import (
    LAKE,
    LAKE_REFERENCE,
    RIVER,
    RIVER_REFERENCE,
    ItemLimits,
    assess_section,
)
from edge.wire.quantities import QUANTITIES

CONCENTRATIONS = [one for one in RIVER.values() if one.name not in (gb3838.PH, gb3838.DO)]


@pytest.mark.parametrize(
    "item", [*CONCENTRATIONS, LAKE[gb3838.TP], LAKE_REFERENCE[gb3838.TN]], ids=lambda i: i.name
)
def test_exactly_on_a_limit_keeps_the_class_and_the_better_of_equal_ones(item: ItemLimits) -> None:
    for limit in item.limits:
        better = item.limits.index(limit) + 1
        assert gb3838.class_of(item, limit) == better
        assert gb3838.class_of(item, limit * 1.001) > better
    assert gb3838.class_of(item, item.limits[-1] * 1.001) == gb3838.WORSE_THAN_V


def test_oxygen_must_not_be_below_its_limits() -> None:
    oxygen = RIVER[gb3838.DO]
    assert [gb3838.class_of(oxygen, value) for value in (7.5, 7.49, 6, 5, 3, 2, 1.99)] == [
        1,
        2,
        2,
        3,
        4,
        5,
        6,
    ]


def test_class_one_of_oxygen_is_ninety_per_cent_of_saturation_or_seven_and_a_half() -> None:
    oxygen = RIVER[gb3838.DO]
    warm = 0.9 * gb3838.oxygen_at_saturation(30.0)
    assert warm == pytest.approx(6.84, abs=0.005)
    assert gb3838.class_of(oxygen, warm, temperature=30.0) == 1
    assert gb3838.class_of(oxygen, warm - 0.01, temperature=30.0) == 2
    assert gb3838.class_of(oxygen, warm) == 2, "without a temperature only 7.5 is known"
    assert gb3838.class_of(oxygen, 7.5, temperature=5.0) == 1, "or 7.5, though cold water could hold more"


@pytest.mark.parametrize(("ph", "class_"), [(6.0, 1), (9.0, 1), (7.3, 1), (5.99, 6), (9.01, 6)])
def test_ph_is_within_or_worse_than_every_class(ph: float, class_: int) -> None:
    assert gb3838.class_of(RIVER[gb3838.PH], ph) == class_


def test_the_binary_mean_of_values_on_a_limit_is_on_it() -> None:
    mean = sum([0.1] * 3) / 3 + 0.05
    assert mean > 0.15
    assert gb3838.class_of(RIVER["ammonia_nitrogen"], mean) == 1


def test_a_section_has_the_class_of_its_worst_item_and_names_it_and_the_number_measured() -> None:
    measured = {"ph": 7.4, "dissolved_oxygen": 6.2, "permanganate_index": 4.5, "ammonia_nitrogen": 1.2}
    measured |= {"total_phosphorus": 0.18, "total_nitrogen": 9.0, "turbidity": 80.0, "conductivity": 600.0}
    found = assess_section(measured, temperature=18.0)
    assert (found.class_, found.worst, found.main) == (4, ("ammonia_nitrogen",), ("ammonia_nitrogen",))
    assert len(found.items) == 5
    assert "total_nitrogen" not in found.items
    assert found.reference == {}, "rivers have no limit for total nitrogen"
    assert found.items["ammonia_nitrogen"].exceeds == pytest.approx(0.2)
    assert found.items["permanganate_index"].exceeds is None


def test_a_lake_has_phosphorus_limits_of_its_own_and_nitrogen_beside_its_class() -> None:
    found = assess_section({"total_phosphorus": 0.06, "total_nitrogen": 1.6}, lake=True)
    assert (found.class_, assess_section({"total_phosphorus": 0.06}).class_) == (4, 2)
    assert {name: one.class_ for name, one in found.reference.items()} == {"total_nitrogen": 5}
    assert set(RIVER_REFERENCE) == {"faecal_coliforms"}


def test_what_was_not_measured_is_not_assessed() -> None:
    assert assess_section({}).class_ is None
    assert assess_section({"turbidity": 3.0, "total_nitrogen": 1.0}).class_ is None
    nothing = assess_section({"ph": math.nan, "ammonia_nitrogen": -0.1, "dissolved_oxygen": math.inf})
    assert (nothing.class_, nothing.items, nothing.main) == (None, {}, ())
    one = assess_section({"ammonia_nitrogen": 0.5})
    assert (one.class_, len(one.items), one.index) == (2, 1, 0.5)


def test_main_pollutants_are_three_at_most_by_class_then_by_excess() -> None:
    found = assess_section(
        {
            "ammonia_nitrogen": 1.9,  # V, 0.9 times
            "total_phosphorus": 0.39,  # V, 0.95 times
            "permanganate_index": 16.0,  # worse than V
            "fluoride": 1.2,  # IV
            "dissolved_oxygen": 2.5,  # V, and no multiple of it is given
        }
    )
    assert found.main == ("permanganate_index", "total_phosphorus", "ammonia_nitrogen")
    assert found.items["dissolved_oxygen"].exceeds is None
    assert found.worst == ("permanganate_index",)


def test_twenty_one_items_count() -> None:
    assert len(RIVER) == len(LAKE) == gb3838.N_ITEMS


def test_limits_and_registry_speak_one_unit() -> None:
    shared = [one for one in RIVER.values() if one.name in QUANTITIES]
    assert len(shared) == 5
    for one in (*shared, LAKE_REFERENCE["total_nitrogen"]):
        assert QUANTITIES[one.name].unit == one.unit, one.name


def test_units_of_hj_212_are_turned_into_those_of_the_limits() -> None:
    mercury = RIVER["mercury"]
    assert gb3838.class_of(mercury, gb3838.convert_to_item_unit(mercury, 0.05, "ug/L")) == 1
    assert gb3838.class_of(mercury, gb3838.convert_to_item_unit(mercury, 0.11, "µg/L")) == 4
    assert gb3838.convert_to_item_unit(RIVER["ammonia_nitrogen"], 0.0015, "kg/m3") == pytest.approx(1.5)
    for item, unit in (
        (mercury, "µS/cm"),
        (RIVER["ph"], "mg/L"),
        (RIVER_REFERENCE["faecal_coliforms"], "mg/L"),
    ):
        with pytest.raises(ValueError, match="limits in"):
            gb3838.convert_to_item_unit(item, 1.0, unit)


def test_indices_follow_hj_2_3() -> None:
    assert gb3838.index_of(RIVER["ph"], 6.5) == 0.5
    assert gb3838.index_of(RIVER["ph"], 8.0) == 0.5
    oxygen = RIVER[gb3838.DO]
    full = gb3838.oxygen_at_saturation(20.0)
    assert gb3838.index_of(oxygen, 4.0, temperature=20.0) == 5 / 4
    assert gb3838.index_of(oxygen, full, temperature=20.0) == 0.0
    assert gb3838.index_of(oxygen, 5.0, temperature=20.0) == pytest.approx(1.0)
    assert gb3838.index_of(oxygen, 10.0) == 0.5
    assert gb3838.index_of(oxygen, 0.0) == math.inf


def classes(*found: int) -> list[gb3838.AssessedSection]:
    ammonia = {1: 0.1, 2: 0.4, 3: 0.9, 4: 1.4, 5: 1.9, 6: 9.0}
    made = [assess_section({"ammonia_nitrogen": ammonia[one]}) for one in found]
    assert [one.class_ for one in made] == list(found)
    return made


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ([3] * 9 + [4], 1),  # just 90 %
        ([3] * 8 + [4] * 2, 2),
        ([2] * 3 + [4], None),
        ([3] * 6 + [4] * 2, 2),  # just 75 %
        ([3] * 3 + [4] * 2, 3),
        ([3] * 3 + [4, 6], 4),  # just 20 % worse than V
        ([3] * 3 + [6, 6], 5),  # just 40 %
    ],
)
def test_towns_of_five_sections_or_more_go_by_shares(found: list[int], status: int | None) -> None:
    if status is not None:
        assert gb3838.town_status(classes(*found)) == status


def test_towns_of_fewer_sections_go_by_their_means() -> None:
    assert gb3838.town_status(classes(1, 1, 1, 6)) == 5, "the mean is 2.3 mg/L"
    assert gb3838.town_status(classes(2, 4)) == 2, "the mean is 0.9 mg/L"
    assert gb3838.town_status([assess_section({})]) is None


def test_trophic_weights_are_those_of_the_method() -> None:
    assert [round(one, 4) for one in trophic_level.item_weights(trophic_level.TERMS).values()] == [
        0.2663,
        0.1879,
        0.179,
        0.1834,
        0.1834,
    ]


def test_trophic_index_uses_what_is_there() -> None:
    assert trophic_level.trophic_level_index({}) is None
    assert trophic_level.trophic_level_index({"chlorophyll_a": 0.0, "total_phosphorus": math.nan}) is None
    one, each = trophic_level.trophic_level_index({"chlorophyll_a": 10.0, "conductivity": 1.0}) or (0.0, {})
    assert one == pytest.approx(10 * (2.5 + 1.086 * math.log(10)))
    assert list(each) == ["chlorophyll_a"]
    values = {"chlorophyll_a": 20.0, "total_phosphorus": 0.08, "total_nitrogen": 1.5, "transparency": 0.6}
    both, each = trophic_level.trophic_level_index(values | {"permanganate_index": 5.0}) or (0.0, {})
    assert min(each.values()) < both < max(each.values())
    assert trophic_level.trophic_state(both) == 3
