"""Tests that each reading is stored once when a node of a RabbitMQ cluster is killed under load."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from deploy.device_access.broker_access import DeviceAccess
from deploy.device_access.rabbitmq import RabbitMq
from tests.support.network_fault_rig import NetworkFaultRig, TickDriver, run_with_failure
from tests.support.rabbitmq_cluster import NODES, RabbitMqCluster
from tests.support.tcp_proxy import Proxy
from tests.support.throwaway_rabbitmq import ADMIN, ADMIN_PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deploy.debian_servers.installation import Installation

AREA, PASSWORD = "330483-d1", "of-the-device"
TICKS, TOGETHER = 1000, 10  # two readings each; a message has ten
READINGS_PER_S = 500.0  # the kill is in their midst


@pytest.fixture
def cluster(rabbitmq_installation: Installation) -> Iterator[RabbitMqCluster]:
    found = RabbitMqCluster(rabbitmq_installation)
    try:
        found.start()
        yield found
    finally:
        found.remove()


def test_a_node_killed_under_load_loses_and_doubles_nothing(
    cluster: RabbitMqCluster, timescale_dsn: str, tmp_path: Path
) -> None:
    """Ingest and the device are on the node that is killed; both connect to another one."""
    killed, other, _ = cluster.nodes
    access = RabbitMq(cluster.management_url, ADMIN, ADMIN_PASSWORD)
    access.grant([DeviceAccess(AREA, "d1", PASSWORD)])
    access.close()
    device_line = Proxy("127.0.0.1", killed.port)
    with NetworkFaultRig(
        tmp_path,
        timescale_dsn,
        device_line,
        ticks=TickDriver(float(int(time.time()) - 2 * TICKS), TICKS, together=TOGETHER),
        password=PASSWORD,
        readings_per_s=READINGS_PER_S,
    ) as rig:
        rig.broker_network.target = device_line.target

        def kill_node() -> None:
            of_ingest = next(one for one in cluster.queues() if "towntwin-ingest-main" in one["name"])
            assert (of_ingest["type"], len(of_ingest["members"])) == ("quorum", NODES)
            assert of_ingest["leader"] == killed.name
            cluster.kill_node(killed)
            for line in (device_line, rig.broker_network):
                line.target = ("127.0.0.1", other.port)

        ingest = run_with_failure(rig, kill_node)
    device_line.close()
    log = ingest.log.read_text()
    assert "broker_lost" in log or "broker_disconnected" in log
    assert "session_present=True" in log, "the other nodes have the session with what waits in it"
