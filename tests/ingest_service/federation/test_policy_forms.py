"""Tests that a county gets readings or rollups as the policy has it, device health and assessments."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from psycopg.conninfo import make_conninfo

from analytics.service.network_state import network_state
from ingest_service.federation.errors import FederationError
from ingest_service.federation.policy import Policy, PolicyException, read_policy
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import REVISION, DeadLetterQuery, Device, DeviceStatus, Directory
from ingest_service.storage.postgres.assessments import Assessment, Assessments
from ingest_service.storage.postgres.migrate import migrate
from tests.ingest_service.storage.test_database_roles import working_as
from tests.support.federated_pair import FederatedPair
from tests.support.federated_towns import AREAS, BOX, COUNTY, OTHER_TOWN, TOWN
from tests.support.federation_rows import opened, rows_of
from tests.support.store_samples import DIRECTORY, START_US, STEP_US, readings
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from ingest_service.storage.postgres.store import PostgresStore

ROLLUPS = """
SELECT s.site_id, r.* FROM (
    SELECT 'quarter' AS width, q.* FROM rollup_15min AS q
    UNION ALL SELECT 'hour', h.* FROM rollup_1h AS h
    UNION ALL SELECT 'day', d.* FROM rollup_1day AS d
) AS r JOIN series AS s USING (series_id) WHERE s.quantity = 'ph' ORDER BY s.site_id, r.width, r.bucket
"""
READINGS = "SELECT s.quantity, count(*) FROM reading JOIN series AS s USING (series_id) GROUP BY 1"
POLICY = Policy(
    area=TOWN,
    device=BOX,
    history_days=36_500,
    networks=True,
    exceptions=[
        PolicyException(quantities=["ph"], areas=[OTHER_TOWN], readings="none"),
        PolicyException(quantities=["ph"], sites=["s1"], readings="rollups"),
    ],
)


def test_the_policy_of_the_documentation_is_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs/federation.md").read_text("utf-8")
    (example,) = [one for one in re.findall(r"```toml\n(.*?)```", page, re.DOTALL) if "history_days" in one]
    (tmp_path / "federation.toml").write_text(example, "utf-8")
    policy = read_policy(tmp_path / "federation.toml")
    assert [one.readings for one in policy.exceptions] == ["rollups"]
    for wrong, sentence in (
        ('commands = ["reboot"]', "Invalid enum value 'reboot'"),
        ('[[exceptions]]\nreadings = "some"', "Invalid enum value 'some'"),
        ('[[exceptions]]\nreadings = "none"\nquantities = ["moon"]', "'moon' is no quantity"),
        ("estimates = true", "set networks = true"),
    ):
        (tmp_path / "wrong.toml").write_text(f'area = "a"\ndevice = "d"\n{wrong}\n', "utf-8")
        with pytest.raises(FederationError, match=sentence):
            read_policy(tmp_path / "wrong.toml")


def assessment(value: float, **changed: Any) -> Assessment:
    usual = {"kind": "capture", "subject": "site/s1", "area_id": TOWN, "site_id": "s1", "month": "2026-09"}
    times = {"data_from_s": 1.79e9, "data_to_s": 1.79e9, "readings": 9, "version": "1"}
    return Assessment(**{**usual, **times, "value": value, **changed})


def twin_of(store: PostgresStore) -> list[Any]:
    """State of the networks, of what is measured without numbers of the platform and expected values."""
    directory = store.directory()
    series = [one.series_id for one in directory.series if one.quantity == "turbidity"]
    state = network_state(directory, store.latest(series), [], now_s=START_US / 1e6 + 40 * STEP_US / 1e6)
    nodes = [(one.node_id, one.status, [m.value for m in one.measured]) for one in state.nodes]
    return [nodes, [(one.link_id, one.status) for one in state.links]]


def roll_up(store: PostgresStore) -> None:
    while store.refresh_rollups(limit=100_000):
        pass


def test_readings_rollups_health_and_assessments_follow_the_policy(
    timescale_dsn: str, timescale_server: Any
) -> None:
    migrate(timescale_dsn)
    with (
        fresh_database(timescale_server) as county_dsn,
        opened(timescale_dsn) as town,
        opened(county_dsn) as county,
    ):
        county.enrol(Directory(areas=AREAS, devices=[Device(device_id=BOX, area_id=TOWN, kind="federation")]))
        town.enrol(DIRECTORY)
        town.commit(Batch(fresh=readings(1, range(40))))
        town.commit(Batch(fresh=readings(2, range(40))))
        # The role is the cluster's, so one user has it at both databases.
        with (
            working_as("ingest", county_dsn) as receiver,
            opened(make_conninfo(timescale_dsn, user="tests_ingest")) as sender,
        ):
            line = FederatedPair(sender, receiver, POLICY)
            line.forward()
            assert dict(rows_of(county_dsn, READINGS)) == {"turbidity": 40}
            assert rows_of(county_dsn, ROLLUPS) == [], "they are not rolled up in the town yet"
            roll_up(town)
            line.forward()
            roll_up(county)
            assert rows_of(county_dsn, ROLLUPS) == rows_of(timescale_dsn, ROLLUPS) != []
            assert line.feed.waiting()[0] == 1, "the range of the history, which ends tomorrow"

            revised = np.zeros(3, REVISION)
            revised["series_id"], revised["time_us"] = 1, START_US + np.arange(3) * STEP_US
            revised["quality"], revised["rules"] = 4, 1
            town.commit(Batch(revisions=revised))
            status = DeviceStatus(device_id="d1", received_s=1.79e9, status={"online": True})
            town.commit(Batch(statuses=[status]))
            kept = assessment(0.5)
            Assessments(town).replace_month("2026-09", [kept, assessment(0.7, kind="response")], "1")
            Assessments(county).replace_month("2026-09", [assessment(0.1)], "1")
            roll_up(town)
            line.look_again()
            line.forward()
            roll_up(county)
            assert rows_of(county_dsn, ROLLUPS) == rows_of(timescale_dsn, ROLLUPS)
            line.repeat()
            roll_up(county)
            assert rows_of(county_dsn, ROLLUPS) == rows_of(timescale_dsn, ROLLUPS), "older ones stay out"
            assert [(one.device_id, one.status) for one in county.statuses()] == [("d1", {"online": True})]

            assessed = "SELECT kind, value, origin FROM assessment ORDER BY kind"
            assert rows_of(county_dsn, assessed) == [("capture", 0.5, BOX), ("response", 0.7, BOX)]
            Assessments(county).replace_month("2026-09", [assessment(0.2)], "2")
            Assessments(town).replace_month("2026-09", [kept], "2")
            line.look_again()
            line.forward()
            assert rows_of(county_dsn, assessed) == [("capture", 0.5, BOX)]
        assert county.dead_letters(DeadLetterQuery()) == []
        assert twin_of(county) == twin_of(town), "the county's twin has the town's state"
        assert [measured for _, _, measured in twin_of(county)[0]] == [[], [39.25]]
        above = Policy(area=COUNTY, device="county-box").forms(county.directory())
        assert sorted(above.values()) == ["all", "rollups"], "the city gets what the county has"
