"""Tests the access of devices at a real Mosquitto: own topics only, revocation, client certificates."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest

from deploy.box.broker_users import ROLE_BY_USER, add_missing_users, initial_configuration
from deploy.device_access import rabbitmq
from deploy.device_access.broker_access import BrokerAccessError, DeviceAccess
from deploy.device_access.dynamic_security import DynamicSecurity
from edge.wire.broker_address import BrokerAddress, TlsFiles, parse_broker_address
from tests.support.device_client import NOT_AUTHORIZED, DeviceClient
from tests.support.dynamic_mosquitto import ADMIN, ADMIN_PASSWORD, start_dynamic_mosquitto
from tests.support.tls_mosquitto import issue_client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deploy.debian_servers.installation import Installation
    from tests.conftest import StartMosquitto
    from tests.support.tls_mosquitto import TlsMosquitto

AREA = "330483-d1"


@pytest.fixture
def dynamic(
    start_mosquitto: StartMosquitto, real_servers: Installation | None, tmp_path: Path
) -> TlsMosquitto:
    return start_dynamic_mosquitto(start_mosquitto, real_servers, tmp_path)


@pytest.fixture
def access(dynamic: TlsMosquitto) -> Iterator[DynamicSecurity]:
    one = DynamicSecurity(BrokerAddress("127.0.0.1", dynamic.plain.port, ADMIN, ADMIN_PASSWORD))
    yield one
    one.close()


def test_a_device_publishes_under_its_own_name_only_and_is_cut_off_when_it_is_revoked(
    dynamic: TlsMosquitto, access: DynamicSecurity
) -> None:
    access.grant([DeviceAccess(AREA, "wz-01", "pw-one"), DeviceAccess(AREA, "wz-02", "pw-two")])
    access.grant([DeviceAccess(AREA, "wz-01", "pw-three")])  # again, with a new password
    assert access.granted() == {"wz-01", "wz-02"}
    broker = BrokerAddress("127.0.0.1", dynamic.plain.port)
    for password in ("pw-one", "wrong", None):
        refused = DeviceClient(broker, "wz-01", password)
        refused.close()
        assert refused.reason == NOT_AUTHORIZED
    one, two = DeviceClient(broker, "wz-01", "pw-three"), DeviceClient(broker, "wz-02", "pw-two")
    for topic in ("data", "status", "event"):
        assert one.publish(f"towntwin/v1/{AREA}/wz-01/{topic}") in {0, 16}
    for topic in (
        f"towntwin/v1/{AREA}/wz-02/data",
        "towntwin/v1/330483-d2/wz-01/data",
        f"towntwin/v1/{AREA}/wz-01/command",
        f"towntwin/v1/{AREA}/wz-01/receipt",
        "$CONTROL/dynamic-security/v1",
    ):
        assert one.publish(topic) == NOT_AUTHORIZED, topic
    with pytest.raises(BrokerAccessError, match="that is no device"):
        access.grant([DeviceAccess(AREA, ADMIN, "taken")])
    access.revoke(["wz-01", "never-there"])
    assert one.has_ended.wait(30), "a connected device is cut off"
    one.close()
    again = DeviceClient(broker, "wz-01", "pw-three")
    again.close()
    assert again.reason == NOT_AUTHORIZED
    assert two.publish(f"towntwin/v1/{AREA}/wz-02/data") in {0, 16}
    assert not two.has_ended.is_set()
    assert access.granted() == {"wz-02"}
    access.grant([DeviceAccess(AREA, "wz-01", "pw-four")])
    assert DeviceClient(broker, "wz-01", "pw-four").reason == 0
    two.close()


def test_a_device_with_a_certificate_has_the_name_of_the_certificate(
    dynamic: TlsMosquitto, access: DynamicSecurity, tmp_path: Path
) -> None:
    access.grant([DeviceAccess(AREA, "wz-03")])
    files = TlsFiles(dynamic.ca, *issue_client(dynamic.authority, "wz-03", tmp_path))
    broker = parse_broker_address(dynamic.url, files)
    one = DeviceClient(broker, "wz-03")
    assert one.publish(f"towntwin/v1/{AREA}/wz-03/data") in {0, 16}
    assert one.publish(f"towntwin/v1/{AREA}/wz-01/data") == NOT_AUTHORIZED
    access.revoke(["wz-03"])
    assert one.has_ended.wait(30)
    one.close()
    again = DeviceClient(broker, "wz-03")
    if again.reason == 0:  # TLS lets it in, and without its role it may do nothing
        assert again.publish(f"towntwin/v1/{AREA}/wz-03/data") == NOT_AUTHORIZED
    again.close()
    assert dynamic.plain.process is not None
    assert dynamic.plain.process.poll() is None, "the broker goes on"


def test_a_broker_without_the_plugin_and_a_wrong_password_are_sentences(
    dynamic: TlsMosquitto, mosquitto: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.device_access.dynamic_security.ANSWER_S", 1.0)
    for broker, sentence in (
        (BrokerAddress("127.0.0.1", mosquitto.port), "load its dynamic security plugin"),
        (BrokerAddress("127.0.0.1", dynamic.plain.port, ADMIN, "wrong"), "check the administrator's user"),
        (BrokerAddress("127.0.0.1", 9), "can't be reached"),
    ):
        one = DynamicSecurity(broker)
        with pytest.raises(BrokerAccessError, match=sentence):
            one.granted()
        one.close()


def test_permissions_of_rabbitmq_match_the_own_topics_alone() -> None:
    permissions = rabbitmq.topic_permissions(DeviceAccess("t-1", "wz-01"))
    assert re.search(permissions["write"], "towntwin.v1.t-1.wz-01.data")
    for key in (
        "towntwin.v1.t-1.wz-02.data",
        "towntwin.v1.t-1.wz-01.receipt",
        "x.towntwin.v1.t-1.wz-01.data",
    ):
        assert not re.search(permissions["write"], key)
    assert re.search(permissions["read"], "towntwin.v1.t-1.wz-01.receipt")
    queues = rabbitmq.queue_permissions("wz-01")
    assert re.search(queues["configure"], "mqtt-subscription-wz-01qos1")
    assert not re.search(queues["configure"], "mqtt-subscription-wz-011qos1")
    with pytest.raises(BrokerAccessError, match="can't be reached"):
        rabbitmq.RabbitMq("http://127.0.0.1:9", "admin", "x").granted()
    with pytest.raises(BrokerAccessError, match="without a dot"):
        rabbitmq.topic_permissions(DeviceAccess("t-1", "wz.01"))


def test_roles_of_an_older_version_get_the_permissions_that_they_lack() -> None:
    newest = initial_configuration(dict.fromkeys(ROLE_BY_USER, "secret"))
    older = deepcopy(newest)
    (role,) = [one for one in older["roles"] if one["rolename"] == "towntwin-federation"]
    role["acls"] = [one for one in role["acls"] if not one["topic"].endswith("/command")]
    older["roles"].append({"rolename": "towntwin-device-wz-01", "acls": []})
    assert add_missing_users(older, newest) == ["towntwin-federation: towntwin/v1/+/+/command"]
    assert older["roles"][:-1] == newest["roles"]
    assert older["roles"][-1]["acls"] == [], "a device's own"
    assert add_missing_users(older, newest) == []
