"""A certificate authority with a Mosquitto that serves TLS by its certificates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.device_access.certificate_authority import CertificateAuthority, make_request
from deploy.embedded.server_environment import free_port
from tests.support import not_tested
from tests.support.run_folders import new_folder
from tests.support.server_installation import runs_folder

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from deploy.debian_servers.installation import Installation
    from tests.conftest import StartMosquitto
    from tests.support.throwaway_servers import MosquittoServer

SERVER_HOSTS = ("127.0.0.1", "localhost")


@dataclass(slots=True)
class TlsMosquitto:
    """A running Mosquitto; ``port`` is that of TLS, ``plain`` has the port without.

    Attributes
    ----------
    authority : that issued the broker's certificate, and those of clients
    ca : its certificate
    """

    plain: MosquittoServer
    port: int
    authority: CertificateAuthority
    ca: Path

    @property
    def url(self) -> str:
        """Address with TLS."""
        return f"mqtts://127.0.0.1:{self.port}"


def start_tls_mosquitto(
    start: StartMosquitto,
    installation: Installation | None,
    folder: Path,
    *,
    client_certificates: bool = False,
    hosts: tuple[str, ...] = SERVER_HOSTS,
    days: float = 30.0,
    begin: datetime | None = None,
    lines: tuple[str, ...] = (),
) -> TlsMosquitto:
    """Start a Mosquitto with a listener for TLS, and one without.

    Parameters
    ----------
    folder : for the certificates
    client_certificates : whether clients need one; its name is their user name
    hosts, days, begin : of the broker's certificate
    lines : further lines of the configuration

    """
    authority = CertificateAuthority.create("test authority")
    certificate, key = authority.issue_server(hosts, days=days, start=begin)
    port = free_port()
    if installation is None:
        not_tested.skip("Mosquitto is missing: run on Debian as root, or install Debian's mosquitto")
    server_folder = new_folder(runs_folder(installation), "tls", installation.owner("mosquitto"))
    server_folder.chmod(0o755)
    server_files = {"ca.crt": authority.certificate_pem, "server.crt": certificate, "server.key": key}
    for name, content in server_files.items():
        (server_folder / name).write_bytes(content)
        (server_folder / name).chmod(0o644)
    inside = installation.inside(server_folder)
    names = ("require_certificate true", "use_identity_as_username true") if client_certificates else ()
    listener = (
        f"listener {port} 127.0.0.1",
        f"cafile {inside}/ca.crt",
        f"certfile {inside}/server.crt",
        f"keyfile {inside}/server.key",
        *names,
    )
    plain = start(lines=(*listener, *lines))
    ca = folder / f"ca-{port}.crt"
    ca.write_bytes(authority.certificate_pem)
    return TlsMosquitto(plain, port, authority, ca)


def issue_client(authority: CertificateAuthority, device: str, folder: Path) -> tuple[Path, Path]:
    """Write a client's certificate and key; return their paths."""
    request, key = make_request(device)
    certificate_path, key_path = folder / f"{device}.crt", folder / f"{device}.key"
    certificate_path.write_bytes(authority.sign_request(request, device))
    key_path.write_bytes(key)
    return certificate_path, key_path
