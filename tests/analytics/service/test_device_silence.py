"""Tests the detection of silent devices: one is silent when the other devices of its town go on."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from analytics.service.device_maintenance import DeviceMaintenance
from analytics.service.device_silence import device_silence_changes
from analytics.service.settings import Settings
from analytics.service.simultaneous_silence import resumed_s
from ingest_service.storage.contract.models import Anomaly, DeviceActivity

SETTINGS = Settings(silent_intervals=5, silence_grace_s=5)
NOW_S = 1_790_000_000.0


def device(
    name: str, *, measured_s: float | None, heard_s: float | None = NOW_S - 10, area: str = "a"
) -> DeviceActivity:
    return DeviceActivity(
        device_id=name, area_id=area, site_id="s", interval_s=300, measured_s=measured_s, received_s=heard_s
    )


def silent(
    *activity: DeviceActivity, open_anomalies: list[Anomaly] | None = None, now_s: float = NOW_S
) -> list[Anomaly]:
    return device_silence_changes(activity, open_anomalies or [], SETTINGS, now_s=now_s)


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


LOADING = [device(f"h{number}", measured_s=NOW_S - 86_400 * (7 - number)) for number in range(4)]


def test_devices_that_load_their_history_at_different_speeds_are_not_silent() -> None:
    assert silent(*LOADING) == []


def test_one_that_stops_for_good_while_history_loads_is_silent_by_the_clock() -> None:
    dead = device("x", measured_s=NOW_S - 86_400 * 8, heard_s=NOW_S - 1600)
    assert [one.device_id for one in silent(*LOADING, dead)] == ["x"]


def test_one_whose_history_ends_early_is_silent_once_its_area_is_up_to_date() -> None:
    (found,) = silent(*TOWN, device("h", measured_s=NOW_S - 86_400))
    assert found.device_id == "h"


def test_after_an_outage_of_ingest_devices_have_time_to_connect_and_no_more() -> None:
    """The outage ended at NOW_S; nothing of the devices was received for longer than allowed."""
    activity = [msgspec.structs.replace(one, received_s=NOW_S - 1600) for one in TOWN]

    def found(after_s: float) -> set[str]:
        late = device_silence_changes(activity, [], SETTINGS, now_s=NOW_S + after_s, working_since_s=NOW_S)
        return {one.subject for one in late}

    assert found(30) == found(60 + 2 * 300) == set()
    assert found(60 + 5 * 300 + 1) == {"platform/ingest"}


QUIET = [msgspec.structs.replace(one, received_s=NOW_S - 1600 - at) for at, one in enumerate(TOWN)]


def test_devices_that_all_fall_silent_at_once_are_one_anomaly_of_the_platform() -> None:
    (found,) = silent(*QUIET)
    assert (found.subject, found.device_id, found.severity) == ("platform/ingest", None, 3)
    assert "broker or ingest" in found.reason_en
    assert "消息代理或接收服务" in found.reason_zh
    assert silent(*QUIET, open_anomalies=[found]) == [], "it is recorded once"


def test_two_areas_that_fall_silent_at_once_are_one_anomaly() -> None:
    other = [msgspec.structs.replace(one, device_id=f"b{at}", area_id="b") for at, one in enumerate(QUIET)]
    assert [one.subject for one in silent(*QUIET, *other)] == ["platform/ingest"]


def test_an_area_that_falls_silent_alone_is_one_anomaly_of_the_area() -> None:
    other = [device(f"b{at}", measured_s=NOW_S - 60, area="b") for at in range(4)]
    assert [one.subject for one in silent(*QUIET, *other)] == ["area/a"]


def test_one_that_was_silent_before_stays_an_anomaly_of_the_device() -> None:
    dead = device("x", measured_s=NOW_S - 9000, heard_s=NOW_S - 9000)
    assert {one.subject for one in silent(*QUIET, dead)} == {"platform/ingest", "device/x"}


def test_while_ingest_does_not_work_no_device_is_reported() -> None:
    activity = [*TOWN, device("x", measured_s=NOW_S - 7200, heard_s=NOW_S - 11)]
    (found,) = device_silence_changes(activity, [], SETTINGS, now_s=NOW_S, areas_without_ingest={"a"})
    assert (found.subject, found.device_id) == ("platform/ingest", None)


def test_after_it_each_device_has_its_patience_anew() -> None:
    (begun,) = silent(*QUIET)
    back = [msgspec.structs.replace(TOWN[0], received_s=NOW_S + 1, measured_s=NOW_S), *QUIET[1:]]
    (ended,) = device_silence_changes(back, [begun], SETTINGS, now_s=NOW_S + 2)[:1]
    assert (ended.subject, ended.state, ended.end_s) == ("platform/ingest", "closed", NOW_S + 2)
    end_s = resumed_s([ended])
    assert device_silence_changes(back, [], SETTINGS, now_s=NOW_S + 10, resumed_s=end_s) == []
    late = device_silence_changes(back, [], SETTINGS, now_s=NOW_S + 1510, resumed_s=end_s)
    assert {one.subject for one in late} >= {"device/d1", "device/d2", "device/d3"}


def test_a_device_that_was_reported_first_ends_in_favour_of_the_platform() -> None:
    (early,) = silent(*TOWN[:3], QUIET[3])
    assert early.device_id == "d3"
    found = silent(*QUIET, open_anomalies=[msgspec.structs.replace(early, start_s=NOW_S - 1200)])
    assert {(one.subject, one.state) for one in found} == {
        ("platform/ingest", "open"),
        ("device/d3", "closed"),
    }


def test_another_area_gets_nothing() -> None:
    assert silent(*TOWN, device("x", measured_s=NOW_S - 7200, area="b")) == []


def test_one_that_never_sent_is_not_judged() -> None:
    assert silent(*TOWN, device("x", measured_s=None, heard_s=None)) == []


def test_silence_ends_with_the_first_reading_and_is_reported_once() -> None:
    (begun,) = silent(*TOWN, device("x", measured_s=NOW_S - 7200))
    assert silent(*TOWN, device("x", measured_s=NOW_S - 7200), open_anomalies=[begun]) == []
    (ended,) = silent(*TOWN, device("x", measured_s=NOW_S - 30, heard_s=NOW_S - 1), open_anomalies=[begun])
    assert (ended.state, ended.start_s, ended.end_s) == ("closed", begun.start_s, NOW_S - 30)


def test_it_grows_more_severe() -> None:
    def at(hours: float) -> dict[str, Any]:
        (found,) = silent(*TOWN, device("x", measured_s=NOW_S - hours * 3600))
        return {"severity": found.severity}

    assert [at(hours)["severity"] for hours in (0.6, 2, 8)] == [1, 2, 3]


def test_a_device_that_played_recorded_files_is_not_silent_when_they_end() -> None:
    quiet = [msgspec.structs.replace(one, received_s=NOW_S - 1600, kind="replay") for one in TOWN]
    assert silent(*quiet) == []


def maintained(*devices: str, **ended_s: float) -> DeviceMaintenance:
    return DeviceMaintenance(devices=frozenset(devices), ended_s=ended_s)


def test_a_device_that_is_switched_off_in_maintenance_raises_no_silence() -> None:
    off = device("x", measured_s=NOW_S - 7200, heard_s=NOW_S - 7200)

    def found(maintenance: DeviceMaintenance, *open_anomalies: Anomaly) -> list[Anomaly]:
        activity = [*TOWN, off]
        return device_silence_changes(
            activity, open_anomalies, SETTINGS, now_s=NOW_S, maintenance=maintenance
        )

    (raised,) = found(maintained())
    assert found(maintained("x")) == []
    assert found(maintained("x"), raised) == [], "what is open stays as it is"
    assert found(maintained(x=NOW_S - 5 * 300 + 1)) == [], "it gets its allowed delay anew"
    (later,) = found(maintained(x=NOW_S - 5 * 300 - 1))
    assert (later.start_s, later.severity) == (NOW_S - 5 * 300 - 1, 1), "its silence begins with the end"
    worse = msgspec.structs.replace(raised, severity=1)
    (changed,) = found(maintained(x=NOW_S - 5 * 300 - 1), worse)
    assert (changed.start_s, changed.severity) == (raised.start_s, 2), "it is the same anomaly"
    back = msgspec.structs.replace(off, measured_s=NOW_S - 1, received_s=NOW_S)
    (closed,) = device_silence_changes(
        [*TOWN, back], [raised], SETTINGS, now_s=NOW_S, maintenance=maintained("x")
    )
    assert closed.state == "closed"


def test_devices_in_maintenance_are_no_silence_of_all() -> None:
    everyone = maintained(*(one.device_id for one in QUIET))
    assert device_silence_changes(QUIET, [], SETTINGS, now_s=NOW_S, maintenance=everyone) == []
