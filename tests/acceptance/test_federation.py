"""Tests that a county has what its town has, once, through cuts, kills, a second box and a restore."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from msgspec.structs import replace
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from analytics.service.incident_maintenance import maintain_incidents
from analytics.service.settings import Settings as ServiceSettings
from deploy.box.__main__ import prepare_users
from deploy.device_access.broker_access import DeviceAccess
from deploy.device_access.dynamic_security import DynamicSecurity
from edge.wire.broker_address import BrokerAddress
from edge.wire.password_file import read_password
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.federation_commands import IssuedCommand
from ingest_service.storage.contract.incidents import HistoryEntry, IncidentQuery, IncidentUpdate
from ingest_service.storage.contract.models import REVISION, DeadLetterQuery
from ingest_service.storage.postgres.federation_commands import FederationCommands
from ingest_service.storage.postgres.incidents import Incidents
from tests.support.device_client import DeviceClient
from tests.support.dynamic_mosquitto import ADMIN, ADMIN_PASSWORD, start_dynamic_mosquitto
from tests.support.federated_towns import BOX, COUNTY_DIRECTORY, OTHER_BOX, OTHER_TOWN, TOWN
from tests.support.federation_rows import (
    ANOMALIES,
    COUNT,
    INCIDENTS,
    READINGS,
    WITHIN_S,
    add_readings,
    copy_of,
    opened,
    rows_of,
    wait_until_equal,
)
from tests.support.processes import PlatformProcess, running_processes, wait_until
from tests.support.store_samples import DIRECTORY, LATE, START_US, STEP_US, anomaly, readings
from tests.support.tcp_proxy import Proxy
from tests.support.throwaway_servers import fresh_database
from tests.support.tls_mosquitto import issue_client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOT_AUTHORIZED = 135


class Federation:
    """A town and its county on one server, with a line between them that can be cut."""

    def __init__(self, town: str, county: str, broker: Any, folder: Path) -> None:
        self.town, self.county, self._folder = town, county, folder
        self.line = Proxy("127.0.0.1", broker.port)
        self.broker_port = broker.plain.port
        user = "towntwin-federate-receive"
        certificate, key = issue_client(broker.authority, BOX, folder)
        self._tls = {
            "TOWNTWIN_BROKER_CA": str(broker.ca),
            "TOWNTWIN_BROKER_CERTIFICATE": str(certificate),
            "TOWNTWIN_BROKER_KEY": str(key),
        }
        policy = f'area = "{TOWN}"\ndevice = "{BOX}"\nhistory_days = 36500\ncommands = ["limits"]\n'
        (folder / "policy.toml").write_text(policy)
        self.receiver = PlatformProcess(
            "federate",
            "receive",
            log=folder / "receive.log",
            TOWNTWIN_DSN=county,
            TOWNTWIN_BROKER=f"mqtt://{user}@127.0.0.1:{broker.plain.port}",
            TOWNTWIN_BROKER_PASSWORD_FILE=str(folder / "secrets" / f"{user}.password"),
        )
        self.sender = self.sender_of(town, "send")
        with opened(county) as store:
            store.enrol(COUNTY_DIRECTORY)
        with opened(town) as store:
            store.enrol(DIRECTORY)

    def sender_of(self, dsn: str, name: str) -> PlatformProcess:
        return PlatformProcess(
            "federate",
            "send",
            log=self._folder / f"{name}.log",
            TOWNTWIN_DSN=dsn,
            TOWNTWIN_BROKER=f"mqtts://127.0.0.1:{self.line.port}",
            TOWNTWIN_FEDERATE_POLICY=str(self._folder / "policy.toml"),
            TOWNTWIN_FEDERATE_SPOOL=str(self._folder / f"{name}.spool"),
            TOWNTWIN_FEDERATE_POLL_S="0.1",
            TOWNTWIN_FEDERATE_BLOCK_READINGS="3000",
            **self._tls,
        )

    def restart(self, process: PlatformProcess) -> None:
        process.kill()
        process.start()


@pytest.fixture
def federation(
    timescale_server: Any, timescale_dsn: str, start_mosquitto: Any, real_servers: Any, tmp_path: Path
) -> Iterator[Federation]:
    prepare_users(tmp_path / "secrets")
    broker = start_dynamic_mosquitto(start_mosquitto, real_servers, tmp_path, secrets=tmp_path / "secrets")
    administrator = DynamicSecurity(BrokerAddress("127.0.0.1", broker.plain.port, ADMIN, ADMIN_PASSWORD))
    administrator.grant([DeviceAccess(TOWN, BOX)])
    administrator.close()
    with fresh_database(timescale_server) as county:
        found = Federation(timescale_dsn, county, broker, tmp_path)
        yield found
        found.line.close()


def test_readings_reach_the_county_once_through_cuts_and_kills(federation: Federation) -> None:
    town, county = federation.town, federation.county
    add_readings(town, Batch(fresh=readings(1, range(4000))))
    with running_processes(federation.receiver, federation.sender):
        wait_until_equal(town, county)

        federation.line.refuse()
        limits = {"site_id": "s1", "quantity": "ph", "limits": {"fail_high": 9.5}}
        with opened(county) as store:
            FederationCommands(store).issue(
                IssuedCommand(area_id=TOWN, device_id=BOX, kind="limits", content=limits, who="Li")
            )
        late = readings(2, range(0, 1000, 2), rules=LATE, quality=2)
        add_readings(town, Batch(fresh=readings(2, range(1, 1000, 2))), Batch(doubtful=late))
        federation.restart(federation.sender)
        add_readings(town, Batch(fresh=readings(1, range(4000, 10_000))))
        revised = np.zeros(500, REVISION)
        revised["series_id"], revised["time_us"] = 1, START_US + np.arange(500) * STEP_US
        revised["quality"], revised["rules"] = 3, 4
        add_readings(town, Batch(revisions=revised))
        federation.line.restore()

        for victim in (federation.receiver, federation.sender):
            before = rows_of(county, COUNT)
            wait_until(
                lambda before=before: rows_of(county, COUNT) > before,  # type: ignore[misc]
                within_s=WITHIN_S,
                what="readings arrive",
            )
            federation.restart(victim)
        wait_until_equal(town, county)
        wait_until(
            lambda: rows_of(town, "SELECT count(*) FROM federation_due") == [(0,)],
            within_s=WITHIN_S,
            what="nothing waits",
        )
        wait_until(
            lambda: rows_of(county, "SELECT state FROM federation_command") == [("applied",)],
            within_s=WITHIN_S,
            what="the town has applied the command",
        )
    assert rows_of(town, "SELECT limits, who FROM adoption") == [({"fail_high": 9.5}, "above: Li")]
    assert rows_of(county, COUNT) == [(11_000,)]
    with opened(county) as store:
        assert store.dead_letters(DeadLetterQuery()) == []
        assert store.directory().origins == {"s1": BOX}


def test_anomalies_and_incidents_follow_every_change(federation: Federation) -> None:
    town, county = federation.town, federation.county
    with running_processes(federation.receiver, federation.sender), opened(town) as store:
        store.commit(Batch(fresh=readings(1, range(10))))
        store.record_anomalies([anomaly(), anomaly(series_id=2, subject="series/2")])
        maintain_incidents(store, ServiceSettings())
        wait_until_equal(town, county)
        assert rows_of(county, INCIDENTS), "there is one"

        closed_s = START_US / 1e6 + 900
        store.record_anomalies(
            [
                anomaly(state="closed", end_s=closed_s, evidence={"rejudged": True}),
                anomaly(series_id=2, subject="series/2", state="withdrawn"),
            ]
        )
        maintain_incidents(store, ServiceSettings())
        federation.restart(federation.receiver)
        wait_until_equal(town, county)

        incidents = Incidents(store)
        (incident, *_) = incidents.found(IncidentQuery())
        entry = HistoryEntry(
            machine="workflow",
            event="close",
            from_state=incident.state,
            to_state="closed",
            who="tests",
            at_s=closed_s,
        )
        incidents.apply(
            [
                IncidentUpdate(
                    incident=replace(incident, state="closed", closed_s=time.time()), entries=[entry]
                )
            ]
        )
        wait_until_equal(town, county)

    with opened(county) as store:
        maintain_incidents(store, ServiceSettings())
        assert rows_of(town, INCIDENTS) == rows_of(county, INCIDENTS), "the county leaves them as they are"
        assert {one.origin for one in Incidents(store).found(IncidentQuery())} == {BOX}


def test_a_second_box_and_a_restored_backup_replace_the_first(
    federation: Federation, timescale_server: Any
) -> None:
    town, county = federation.town, federation.county
    add_readings(town, Batch(fresh=readings(1, range(100))))
    with running_processes(federation.receiver, federation.sender):
        wait_until_equal(town, county)
        federation.sender.kill()
        with copy_of(timescale_server, town) as restored:
            federation.sender.start()
            with opened(town) as store:
                store.commit(Batch(fresh=readings(1, range(100, 200))))
                store.record_anomalies([anomaly(), anomaly(severity=3), anomaly(severity=1)])
            wait_until_equal(town, county)

            add_readings(restored, Batch(fresh=readings(2, range(50))))
            with opened(restored) as store:
                store.record_anomalies([anomaly(state="withdrawn")])
            second = federation.sender_of(restored, "second")
            with running_processes(second):
                wait_until(
                    lambda: [row[5] for row in rows_of(county, ANOMALIES)] == ["withdrawn"],
                    within_s=WITHIN_S,
                    what="the restored town's change",
                )
                wait_until(
                    lambda: set(rows_of(restored, READINGS)) <= set(rows_of(county, READINGS)),
                    within_s=WITHIN_S,
                    what="the restored town's readings",
                )
                add_readings(town, Batch(fresh=readings(2, range(50, 60))))
                wait_until(
                    lambda: "fenced" in federation.sender.log.read_text(),
                    within_s=WITHIN_S,
                    what="the first box is fenced",
                )
                assert rows_of(town, "SELECT count(*) FROM federation_due") != [(0,)], (
                    "the first keeps its own"
                )
                with opened(town) as store:
                    wait_until(
                        lambda: (
                            [one.why for one in store.processes() if one.kind == "federation"] == ["fenced"]
                        ),
                        within_s=WITHIN_S,
                        what="health shows it",
                    )
    with opened(county) as store:
        assert store.dead_letters(DeadLetterQuery()) == []


def test_the_broker_lets_a_town_publish_as_itself_alone(federation: Federation) -> None:
    tls = {name.removeprefix("TOWNTWIN_BROKER_"): value for name, value in federation._tls.items()}
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.tls_set(tls["CA"], tls["CERTIFICATE"], tls["KEY"])
    answers: list[int] = []
    client.on_publish = lambda _client, _data, _mid, reason, _properties: answers.append(reason.value)
    client.connect("127.0.0.1", federation.line.port)
    client.loop_start()
    for area, device in ((OTHER_TOWN, OTHER_BOX), (TOWN, BOX)):
        client.publish(f"towntwin/v1/{area}/{device}/federation", b"{}", qos=1).wait_for_publish(20)
    wait_until(lambda: len(answers) == 2, within_s=20, what="two answers of the broker")
    client.on_subscribe = lambda _client, _data, _mid, reasons, _properties: answers.append(reasons[0].value)
    for area, device in ((OTHER_TOWN, OTHER_BOX), (TOWN, BOX)):
        client.subscribe(f"towntwin/v1/{area}/{device}/command", qos=1)
    wait_until(lambda: len(answers) == 4, within_s=20, what="two more")
    client.disconnect()
    client.loop_stop()
    assert answers[2:] == [NOT_AUTHORIZED, 1]
    assert answers[0] == NOT_AUTHORIZED
    assert answers[1] != NOT_AUTHORIZED


def test_the_user_of_the_receiver_reads_no_topic_of_devices(federation: Federation, tmp_path: Path) -> None:
    user = "towntwin-federate-receive"
    password = read_password(tmp_path / "secrets" / f"{user}.password")
    client = DeviceClient(BrokerAddress("127.0.0.1", federation.broker_port, user, password), user, password)
    assert client.subscribe("towntwin/v1/+/+/federation") == 1
    assert client.subscribe("towntwin/v1/+/+/data") == NOT_AUTHORIZED
    assert client.publish(f"towntwin/v1/{TOWN}/sonde/data") == NOT_AUTHORIZED
    client.close()
