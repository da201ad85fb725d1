"""Tests the parsing of the TOML plan of simulated faults."""

from __future__ import annotations

import pytest

from edge.simulator import FaultKind, fault_plan

ENTRY = """
[[faults]]
fault_id = "a"
kind = "spike"
site_ids = ["r1"]
quantities = ["ph"]
start_s = -600
end_s = -300
size = 2
find_within_s = 900
en = "too high"
zh = "偏高"
"""


def test_a_plan_is_read_from_toml() -> None:
    (fault,) = fault_plan.decode_plan(ENTRY)
    assert fault.kind is FaultKind.SPIKE
    assert fault.is_active(-600)
    assert not fault.is_active(-300)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("faults = [", "can't be read"),
        (ENTRY.replace('"spike"', '"flood"'), "Invalid enum value 'flood'"),
        (ENTRY.replace("size = 2", "sise = 2"), "unknown field `sise`"),
        (ENTRY + ENTRY, "'a' is planned twice"),
        (ENTRY.replace("end_s = -300", "end_s = -900"), "'a' ends before it starts"),
    ],
)
def test_a_plan_that_is_wrong_is_refused_with_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        fault_plan.decode_plan(text)
