"""Runs a throw-away RabbitMQ with MQTT, certificate login and management on free loopback ports."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import urlopen

from deploy.device_access.certificate_authority import CertificateAuthority
from deploy.embedded.server_environment import free_port
from tests.support.run_folders import kill_tree, new_folder
from tests.support.server_installation import runs_folder

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.debian_servers.installation import Installation

ADMIN, ADMIN_PASSWORD = "admin", "admin-of-the-tests"
USER = "rabbitmq"
PROGRAM = "/usr/lib/rabbitmq/bin/rabbitmq-server"
START_TIMEOUT_S = 90.0
UNAUTHORIZED = 401  # the response of the management plugin to a request without credentials


@dataclass(slots=True)
class RabbitMqServer:
    """A RabbitMQ of one installation; its administrator is `ADMIN`.

    ``port`` is without TLS, for passwords; ``tls_port`` requires a client certificate of ``authority``, whose
    common name is the user.

    Erlang's port mapper runs as a child of the test on a port of its own: RabbitMQ would otherwise leave one
    behind that other runs share.
    """

    installation: Installation
    port: int = field(default_factory=free_port)
    tls_port: int = field(default_factory=free_port)
    authority: CertificateAuthority = field(
        default_factory=lambda: CertificateAuthority.create("test authority")
    )
    management_port: int = field(default_factory=free_port)
    folder: Path = field(init=False)
    processes: list[subprocess.Popen[bytes]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.folder = new_folder(runs_folder(self.installation), "rabbitmq", self.installation.owner(USER))
        certificate, key = self.authority.issue_server(["127.0.0.1"])
        tls_files = {"ca.crt": self.authority.certificate_pem, "server.crt": certificate, "server.key": key}
        for name, content in tls_files.items():
            (self.folder / name).write_bytes(content)
        inside = self.installation.inside(self.folder)
        config = [
            "listeners.tcp = none",
            f"mqtt.listeners.tcp.default = 127.0.0.1:{self.port}",
            f"mqtt.listeners.ssl.default = 127.0.0.1:{self.tls_port}",
            f"ssl_options.cacertfile = {inside}/ca.crt",
            f"ssl_options.certfile = {inside}/server.crt",
            f"ssl_options.keyfile = {inside}/server.key",
            "ssl_options.verify = verify_peer",
            "ssl_options.fail_if_no_peer_cert = true",
            "mqtt.ssl_cert_login = true",
            "ssl_cert_login_from = common_name",
            "anonymous_login_user = none",
            "management.tcp.ip = 127.0.0.1",
            f"management.tcp.port = {self.management_port}",
            f"default_user = {ADMIN}",
            f"default_pass = {ADMIN_PASSWORD}",
            "vm_memory_calculation_strategy = erlang",  # a root folder has no /proc
            "log.file = false",
            "log.console = true",
        ]
        (self.folder / "rabbitmq.conf").write_text("\n".join(config) + "\n")
        (self.folder / "enabled_plugins").write_text(
            "[rabbitmq_management,rabbitmq_mqtt,rabbitmq_auth_mechanism_ssl].\n"
        )
        for path in self.folder.iterdir():
            os.chown(path, *self.installation.owner(USER))

    @property
    def management_url(self) -> str:
        """Address of the management plugin."""
        return f"http://127.0.0.1:{self.management_port}"

    def start(self) -> None:
        """Start the broker and wait until it answers. Call it from the main thread."""
        mapper_port = free_port()
        self._popen(mapper_port, "/usr/bin/epmd", "-port", str(mapper_port), "-address", "127.0.0.1")
        server = self._popen(mapper_port, PROGRAM)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            assert server.poll() is None, f"RabbitMQ did not start:\n{self._log.read_text()[-4000:]}"
            assert time.monotonic() < deadline, f"RabbitMQ does not answer:\n{self._log.read_text()[-4000:]}"
            time.sleep(0.1)

    def remove(self) -> None:
        """Kill the broker and delete its data."""
        for process in reversed(self.processes):
            kill_tree(process.pid)
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def _popen(self, mapper_port: int, program: str, *args: str) -> subprocess.Popen[bytes]:
        inside = self.installation.inside(self.folder)
        environment = {
            **os.environ,
            "HOME": inside,
            "RUNNING_UNDER_SYSTEMD": "true",  # no shell between: the broker itself ends with the test
            "ERL_EPMD_PORT": str(mapper_port),
            "RABBITMQ_NODENAME": f"towntwin-{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_CONFIG_FILE": f"{inside}/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": f"{inside}/none",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{inside}/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": f"{inside}/data",
            "RABBITMQ_LOG_BASE": f"{inside}/logs",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                self.installation.command(USER, program, *args),
                cwd="/",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def _answers(self) -> bool:
        try:
            with (
                socket.create_connection(("127.0.0.1", self.port), timeout=5),
                urlopen(f"{self.management_url}/api/overview", timeout=5),  # noqa: S310 - http on loopback
            ):
                return True
        except HTTPError as error:
            return error.code == UNAUTHORIZED
        except (OSError, HTTPException):
            return False
