"""Runs a RabbitMQ cluster of three nodes under load, kills each node once, and counts what is stored.

``make bench NAME=rabbitmq_cluster``. Ingest is connected to the first node and four edge agents to the
second; when a node ends, its clients connect to the next one, as behind a load balancer that checks health.
Prints, for each kill, how long no reading was stored, and last the counts as one JSON line.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from benchmarks.ledger.chain import AREA, DEVICES, AgentProcess
from benchmarks.ledger.checks import count_device
from benchmarks.ledger.counting_agent import INTERVAL_S, PACK_READINGS
from benchmarks.ledger.platform import directory
from deploy.debian_servers.installation import PROGRAMS
from deploy.device_access.broker_access import DeviceAccess
from deploy.device_access.rabbitmq import RabbitMq
from ingest_service.storage.postgres.store import PostgresStore
from tests.support import server_installation
from tests.support.processes import PlatformProcess, running_processes, wait_until
from tests.support.rabbitmq_cluster import RabbitMqCluster
from tests.support.tcp_proxy import Proxy
from tests.support.throwaway_rabbitmq import ADMIN, ADMIN_PASSWORD
from tests.support.throwaway_servers import TIMESCALE, PostgresServer, fresh_database

if TYPE_CHECKING:
    from tests.support.rabbitmq_cluster import RabbitMqNode

READINGS = 50_000  # of each agent
PACK_INTERVAL_S = 0.1
DEVICE_PASSWORD = "of-the-benchmark"  # noqa: S105 - of a throw-away broker
DOWN_S = 5.0
WITHIN_S = 300.0


def main() -> None:
    """Run the benchmark."""
    installation = server_installation.provide(print)
    server_installation.provide_rabbitmq(installation, print)
    database = PostgresServer(installation, "postgres", PROGRAMS, TIMESCALE | {"fsync": "on"})
    cluster = RabbitMqCluster(installation)
    try:
        database.create()
        began_s = time.monotonic()
        cluster.start()
        print(f"three nodes joined after {time.monotonic() - began_s:.1f} s")
        with fresh_database(database) as dsn, tempfile.TemporaryDirectory() as folder:
            _run(cluster, dsn, Path(folder))
    finally:
        cluster.remove()
        database.remove()


def _run(cluster: RabbitMqCluster, dsn: str, folder: Path) -> None:
    store = PostgresStore.open(dsn)
    store.enrol(directory())
    store.close()
    first, second = (Proxy("127.0.0.1", one.port) for one in cluster.nodes[:2])
    ingest = PlatformProcess(
        "ingest",
        log=folder / "ingest.log",
        TOWNTWIN_DSN=dsn,
        TOWNTWIN_BROKER=f"mqtt://127.0.0.1:{first.port}",
    )
    start_s = int(time.time()) - (READINGS + 60) * INTERVAL_S
    access = RabbitMq(cluster.management_url, ADMIN, ADMIN_PASSWORD)
    access.grant([DeviceAccess(AREA, one, DEVICE_PASSWORD) for one in DEVICES])
    access.close()
    agents = [
        AgentProcess(
            folder / one,
            one,
            f"mqtt://{one}:{DEVICE_PASSWORD}@127.0.0.1:{second.port}",
            start_s,
            READINGS,
            PACK_INTERVAL_S,
        )
        for one in DEVICES
    ]
    with running_processes(ingest), psycopg.connect(dsn, autocommit=True) as connection:
        wait_until(lambda: "subscribed" in ingest.log.read_text(), within_s=60, what="ingest is subscribed")
        print("queues:", {(one["type"], len(one.get("members", []))) for one in cluster.queues()})
        began_s = time.monotonic()
        for agent in agents:
            agent.start()
        for number, node in enumerate(cluster.nodes):
            share = READINGS * len(agents) * (number + 1) // (len(cluster.nodes) + 1)
            wait_until(
                lambda least=share: _count(connection) >= least,
                within_s=WITHIN_S,
                what="the load goes on",
            )
            _kill(cluster, node, (first, second), connection)
        wait_until(lambda: all(one.has_finished for one in agents), within_s=WITHIN_S, what="all receipts")
        took_s = time.monotonic() - began_s
        counts = [sum(one) for one in zip(*(count_device(connection, one) for one in agents), strict=True)]
        connections = ingest.log.read_text().count("subscribed")
    names = ("taken", "stored", "lost", "doubled", "altered", "dead_letters", "waiting")
    rate = READINGS * len(agents) / took_s
    print(f"{rate:,.0f} readings/s in packs of {PACK_READINGS}; ingest subscribed {connections} times")
    print(json.dumps(dict(zip(names, counts, strict=True))))


def _kill(
    cluster: RabbitMqCluster,
    node: RabbitMqNode,
    proxies: tuple[Proxy, Proxy],
    connection: psycopg.Connection[tuple[int]],
) -> None:
    """Kill a node, connect its clients to the next one, measure, and start it again."""
    following = cluster.nodes[node.number % len(cluster.nodes)]
    stored = _count(connection)
    cluster.kill_node(node)
    began_s = time.monotonic()
    for proxy in proxies:
        if proxy.target[1] == node.port:
            proxy.target = ("127.0.0.1", following.port)
    longest_s, last_s = 0.0, began_s
    while time.monotonic() < began_s + DOWN_S or _count(connection) == stored:
        if (now := _count(connection)) != stored:
            stored, longest_s, last_s = now, max(longest_s, time.monotonic() - last_s), time.monotonic()
        time.sleep(0.05)
    cluster.start_node(node)
    cluster.wait_until_joined()
    joined_s = time.monotonic() - began_s
    print(f"node {node.number} killed: storing paused {longest_s:.1f} s, joined after {joined_s:.1f} s")


def _count(connection: psycopg.Connection[tuple[int]]) -> int:
    row = connection.execute("SELECT count(*) FROM reading").fetchone()
    return 0 if row is None else row[0]
