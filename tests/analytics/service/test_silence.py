"""A device is silent when its town has moved on without it; the time is an argument."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from analytics.service.settings import Settings
from analytics.service.silence import changes
from ingest_service.storage.model import Anomaly, DeviceActivity

SETTINGS = Settings(silent_intervals=5, silence_grace_s=5)
NOW_S = 1_790_000_000.0


def device(
    name: str, *, measured_s: float | None, heard_s: float | None = NOW_S - 10, area: str = "a"
) -> DeviceActivity:
    return DeviceActivity(
        device_id=name, area_id=area, site_id="s", interval_s=300, measured_s=measured_s, received_s=heard_s
    )


def silent(
    *activity: DeviceActivity, is_open: list[Anomaly] | None = None, now_s: float = NOW_S
) -> list[Anomaly]:
    return changes(activity, is_open or [], SETTINGS, now_s=now_s)


TOWN = [device(f"d{number}", measured_s=NOW_S - 60) for number in range(4)]


def test_one_that_stays_behind_its_town_is_silent_since_its_next_reading_was_due() -> None:
    (found,) = silent(*TOWN, device("x", measured_s=NOW_S - 7200))
    assert (found.device_id, found.state, found.start_s) == ("x", "open", NOW_S - 7200 + 300)
    assert found.severity == 2
    assert "119 min" in found.reason_en


@pytest.mark.parametrize("behind_s", [300, 1200, 1500])
def test_a_few_missing_readings_are_no_silence(behind_s: float) -> None:
    assert silent(*TOWN, device("x", measured_s=NOW_S - 60 - behind_s)) == []


def test_one_that_is_catching_up_is_not_silent() -> None:
    assert silent(*TOWN, device("x", measured_s=NOW_S - 86_400, heard_s=NOW_S - 1)) == []


def test_a_replay_of_years_ago_is_judged_by_its_own_time() -> None:
    long_ago = [msgspec.structs.replace(one, measured_s=1e9, received_s=NOW_S - 10) for one in TOWN]
    assert silent(*long_ago) == []


def test_a_whole_town_that_is_quiet_is_silent_by_the_clock() -> None:
    quiet = [msgspec.structs.replace(one, received_s=NOW_S - 1600) for one in TOWN]
    assert len(silent(*quiet)) == 4


def test_another_area_says_nothing() -> None:
    assert silent(*TOWN, device("x", measured_s=NOW_S - 7200, area="b")) == []


def test_one_that_was_never_heard_is_not_judged() -> None:
    assert silent(*TOWN, device("x", measured_s=None, heard_s=None)) == []


def test_silence_ends_with_the_first_reading_and_is_told_once() -> None:
    (begun,) = silent(*TOWN, device("x", measured_s=NOW_S - 7200))
    assert silent(*TOWN, device("x", measured_s=NOW_S - 7200), is_open=[begun]) == []
    (ended,) = silent(*TOWN, device("x", measured_s=NOW_S - 30, heard_s=NOW_S - 1), is_open=[begun])
    assert (ended.state, ended.start_s, ended.end_s) == ("closed", begun.start_s, NOW_S - 30)


def test_it_grows_more_severe() -> None:
    def at(hours: float) -> dict[str, Any]:
        (found,) = silent(*TOWN, device("x", measured_s=NOW_S - hours * 3600))
        return {"severity": found.severity}

    assert [at(hours)["severity"] for hours in (0.6, 2, 8)] == [1, 2, 3]


def test_a_device_that_played_recorded_files_is_not_silent_when_they_end() -> None:
    quiet = [msgspec.structs.replace(one, received_s=NOW_S - 1600, kind="replay") for one in TOWN]
    assert silent(*quiet) == []
