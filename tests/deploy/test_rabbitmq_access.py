"""Tests the access of devices at a real RabbitMQ 4: own topics only, revocation within seconds.

With passwords, and with client certificates (``mqtt.ssl_cert_login``).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import pytest

from deploy.device_access.broker_access import BrokerAccessError, DeviceAccess
from deploy.device_access.rabbitmq import RabbitMq
from edge.wire.broker_address import BrokerAddress, TlsFiles
from tests.support.device_client import NOT_AUTHORIZED, DeviceClient
from tests.support.throwaway_rabbitmq import ADMIN, ADMIN_PASSWORD, RabbitMqServer
from tests.support.tls_mosquitto import issue_client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deploy.debian_servers.installation import Installation

AREA = "330483-d1"
BAD_USER_OR_PASSWORD = 0x86
REFUSED = {None, NOT_AUTHORIZED}  # RabbitMQ ends the connection of a QoS 1 message that is not permitted


@pytest.fixture
def rabbitmq(rabbitmq_installation: Installation) -> Iterator[RabbitMqServer]:
    server = RabbitMqServer(rabbitmq_installation)
    try:
        server.start()
        yield server
    finally:
        server.remove()


def test_a_device_publishes_under_its_own_name_only_and_is_cut_off_when_it_is_revoked(
    rabbitmq: RabbitMqServer, tmp_path: Path
) -> None:
    access = RabbitMq(rabbitmq.management_url, ADMIN, ADMIN_PASSWORD)
    access.grant([DeviceAccess(AREA, "wz-01", "pw-one"), DeviceAccess(AREA, "wz-02", "pw-two")])
    access.grant([DeviceAccess(AREA, "wz-01", "pw-three")])  # again, with a new password
    assert access.granted() == {"wz-01", "wz-02"}
    broker = BrokerAddress("127.0.0.1", rabbitmq.port)
    credentials = {"wz-01": "pw-one", "wz-03": "pw-three", "wz-02": None}
    with ThreadPoolExecutor() as pool:  # RabbitMQ refuses after 3 s
        for refused in pool.map(partial(DeviceClient, broker), credentials, credentials.values()):
            refused.close()
            assert refused.reason in {BAD_USER_OR_PASSWORD, NOT_AUTHORIZED}
    two = DeviceClient(broker, "wz-02", "pw-two")
    for topic in (
        f"towntwin/v1/{AREA}/wz-02/data",
        "towntwin/v1/330483-d2/wz-01/data",
        f"towntwin/v1/{AREA}/wz-01/command",
        f"towntwin/v1/{AREA}/wz-01/receipt",
    ):
        one = DeviceClient(broker, "wz-01", "pw-three")
        assert one.publish(topic) in REFUSED, topic
        one.close()
    one = DeviceClient(broker, "wz-01", "pw-three")
    for kind in ("data", "status", "event"):
        assert one.publish(f"towntwin/v1/{AREA}/wz-01/{kind}") in {0, 16}
    for kind in ("receipt", "command"):
        assert one.subscribe(f"towntwin/v1/{AREA}/wz-01/{kind}") == 1
    reason = one.subscribe(f"towntwin/v1/{AREA}/wz-02/receipt")
    assert reason is None or reason >= 0x80, "another's receipts are refused"
    one.close()

    one = DeviceClient(broker, "wz-01", "pw-three")
    access.revoke(["wz-01", "never-there"])
    assert one.has_ended.wait(30), "a connected device is cut off"
    one.close()
    again = DeviceClient(broker, "wz-01", "pw-three")
    again.close()
    assert again.reason in {BAD_USER_OR_PASSWORD, NOT_AUTHORIZED}
    assert two.publish(f"towntwin/v1/{AREA}/wz-02/data") in {0, 16}
    assert not two.has_ended.is_set()
    two.close()
    assert access.granted() == {"wz-02"}
    check_certificate_login(rabbitmq, access, tmp_path)

    with pytest.raises(BrokerAccessError, match="that is no device"):
        access.grant([DeviceAccess(AREA, ADMIN, "taken")])
    with pytest.raises(BrokerAccessError, match="check the administrator's user and password"):
        RabbitMq(rabbitmq.management_url, ADMIN, "wrong").granted()


def check_certificate_login(rabbitmq: RabbitMqServer, access: RabbitMq, folder: Path) -> None:
    """Check that a device with a certificate is the user of its name, on its own topics, until revoked."""
    ca = folder / "ca.crt"
    ca.write_bytes(rabbitmq.authority.certificate_pem)

    def connect(name: str, user: str | None = None) -> DeviceClient:
        files = TlsFiles(ca, *issue_client(rabbitmq.authority, name, folder))
        return DeviceClient(BrokerAddress("127.0.0.1", rabbitmq.tls_port, user, tls=files), name)

    access.grant([DeviceAccess(AREA, "wz-04")])
    one = connect("wz-04")
    assert one.reason == 0
    assert one.publish(f"towntwin/v1/{AREA}/wz-04/data") in {0, 16}
    assert one.subscribe(f"towntwin/v1/{AREA}/wz-04/receipt") == 1
    assert one.publish(f"towntwin/v1/{AREA}/wz-02/data") in REFUSED
    one.close()
    named = connect("wz-04", user="wz-04")
    assert named.reason in {BAD_USER_OR_PASSWORD, NOT_AUTHORIZED}, "a user name needs its password"
    named.close()
    one = connect("wz-04")
    access.revoke(["wz-04"])
    assert one.has_ended.wait(30), "a connected device with a certificate is cut off"
    one.close()
    with ThreadPoolExecutor() as pool:  # the revoked one, and one that was never granted
        for refused in pool.map(connect, ["wz-04", "wz-05"]):
            refused.close()
            assert refused.reason in {BAD_USER_OR_PASSWORD, NOT_AUTHORIZED}
