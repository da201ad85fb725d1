"""Runs a throw-away RabbitMQ cluster of three nodes with MQTT and quorum queues on free loopback ports."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from deploy.embedded.server_environment import free_port
from tests.support.run_folders import kill_tree, new_folder
from tests.support.server_installation import runs_folder
from tests.support.throwaway_rabbitmq import ADMIN, ADMIN_PASSWORD, PROGRAM, START_TIMEOUT_S, USER

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.debian_servers.installation import Installation

NODES = 3
COOKIE = "of-the-tests"
CONFIG = """\
listeners.tcp = none
mqtt.listeners.tcp.default = 127.0.0.1:{mqtt}
mqtt.durable_queue_type = quorum
mqtt.max_session_expiry_interval_seconds = infinity
anonymous_login_user = {admin}
anonymous_login_pass = {password}
management.tcp.ip = 127.0.0.1
management.tcp.port = {management}
default_user = {admin}
default_pass = {password}
cluster_formation.peer_discovery_backend = classic_config
{peers}
cluster_formation.classic_config.nodes.{number} = {own}
vm_memory_calculation_strategy = erlang
log.file = false
log.console = true
"""


@dataclass(slots=True)
class RabbitMqNode:
    """A node of the cluster: its number, its ports and its process."""

    number: int
    folder: Path
    port: int = field(default_factory=free_port)
    management_port: int = field(default_factory=free_port)
    distribution_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """Name of the node in the cluster."""
        return f"towntwin{self.number}-{self.port}@localhost"


class RabbitMqCluster:
    """Three nodes on loopback; anyone may publish and subscribe."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._mapper_port = free_port()
        self._mapper: subprocess.Popen[bytes] | None = None
        owner = installation.owner(USER)
        self.nodes = [
            RabbitMqNode(number, new_folder(runs_folder(installation), "rabbitmq", owner))
            for number in range(1, NODES + 1)
        ]
        for node in self.nodes:
            self._configure(node)

    def start(self) -> None:
        """Start every node and wait until each has joined."""
        mapper = ["/usr/bin/epmd", "-port", str(self._mapper_port), "-address", "127.0.0.1"]
        self._mapper = self._popen(self.nodes[0], *mapper)
        for node in self.nodes:  # together: each waits for the others before it answers
            node.process = self._popen(node, PROGRAM)
        for node in self.nodes:
            self._wait_until_listening(node)
        self.wait_until_joined()

    def start_node(self, node: RabbitMqNode) -> None:
        """Start a node, also after a kill, and wait until it listens."""
        node.process = self._popen(node, PROGRAM)
        self._wait_until_listening(node)

    def _wait_until_listening(self, node: RabbitMqNode) -> None:
        assert node.process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._listens(node):
            log = (node.folder / "log").read_text()[-4000:]
            assert node.process.poll() is None, f"RabbitMQ did not start:\n{log}"
            assert time.monotonic() < deadline, f"RabbitMQ does not answer:\n{log}"
            time.sleep(0.1)

    def kill_node(self, node: RabbitMqNode) -> None:
        """Stop a node by SIGKILL."""
        assert node.process is not None
        kill_tree(node.process.pid)
        node.process.wait()
        node.process = None

    def wait_until_joined(self) -> None:
        """Wait until every node runs in the cluster."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while self._running() != NODES:
            assert time.monotonic() < deadline, "a node did not join"
            time.sleep(0.2)

    @property
    def management_url(self) -> str:
        """Address of the management plugin of the first node that runs."""
        port = next(one.management_port for one in self.nodes if one.process is not None)
        return f"http://127.0.0.1:{port}"

    def queues(self) -> list[dict[str, Any]]:
        """Return the queues as the management plugin has them."""
        found: list[dict[str, Any]] = self._get("queues")
        return found

    def remove(self) -> None:
        """Kill every node and delete its data."""
        processes = [one.process for one in self.nodes] + [self._mapper]
        for process in processes:
            if process is not None:
                kill_tree(process.pid)
                process.wait()
        for node in self.nodes:
            shutil.rmtree(node.folder, ignore_errors=True)

    def _running(self) -> int:
        with suppress(httpx.HTTPError):
            return sum(bool(one.get("running")) for one in self._get("nodes"))
        return 0

    def _get(self, what: str) -> Any:
        found = httpx.get(f"{self.management_url}/api/{what}", auth=(ADMIN, ADMIN_PASSWORD), timeout=10)
        found.raise_for_status()
        return found.json()

    def _configure(self, node: RabbitMqNode) -> None:
        peers = "\n".join(
            f"cluster_formation.classic_config.nodes.{one.number} = {one.name}"
            for one in self.nodes
            if one is not node
        )
        files = {
            "rabbitmq.conf": CONFIG.format(
                mqtt=node.port,
                management=node.management_port,
                admin=ADMIN,
                password=ADMIN_PASSWORD,
                peers=peers,
                number=node.number,
                own=node.name,
            ),
            "enabled_plugins": "[rabbitmq_management,rabbitmq_mqtt].\n",
            ".erlang.cookie": COOKIE,
        }
        for name, text in files.items():
            path = node.folder / name
            path.write_text(text)
            path.chmod(0o400 if name == ".erlang.cookie" else 0o644)
            os.chown(path, *self._installation.owner(USER))

    def _popen(self, node: RabbitMqNode, program: str, *args: str) -> subprocess.Popen[bytes]:
        inside = self._installation.inside(node.folder)
        environment = {
            **os.environ,
            "HOME": inside,
            "RUNNING_UNDER_SYSTEMD": "true",
            "ERL_EPMD_PORT": str(self._mapper_port),
            "RABBITMQ_NODENAME": node.name,
            "RABBITMQ_DIST_PORT": str(node.distribution_port),
            "RABBITMQ_CONFIG_FILE": f"{inside}/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": f"{inside}/none",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{inside}/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": f"{inside}/data",
            "RABBITMQ_LOG_BASE": f"{inside}/logs",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }
        with (node.folder / "log").open("ab") as log:
            return subprocess.Popen(
                self._installation.command(USER, program, *args),
                cwd="/",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @staticmethod
    def _listens(node: RabbitMqNode) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", node.port), timeout=5):
                return True
        except OSError:
            return False
