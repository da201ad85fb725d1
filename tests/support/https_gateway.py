"""A gateway of a county that serves HTTPS with a certificate of the project's authority."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.device_access.certificate_authority import CertificateAuthority
from deploy.embedded.server_environment import free_port
from gateway.auth import api_keys
from gateway.auth.principal import Role
from ingest_service.storage.postgres.api_keys import ApiKeyStore
from tests.support.federation_rows import opened
from tests.support.processes import PlatformProcess

if TYPE_CHECKING:
    from pathlib import Path


class HttpsGateway:
    """A process of the gateway, not yet started.

    Parameters
    ----------
    dsn : of the county
    gateway_dsn : of the same database, with the rights of the process
    folder : for certificates and the log
    host : address at which it listens

    Attributes
    ----------
    certificate : file of the authority's certificate

    """

    def __init__(self, dsn: str, gateway_dsn: str, folder: Path, host: str = "127.0.0.1") -> None:
        self._dsn = dsn
        self.host, self.port, self.certificate = host, free_port(), folder / "ca.crt"
        authority = CertificateAuthority.create("county")
        certificate, key = authority.issue_server([host])
        files = {"ca.crt": authority.certificate_pem, "gateway.crt": certificate, "gateway.key": key}
        for name, content in files.items():
            (folder / name).write_bytes(content)
        flags = ["--host", host, "--port", str(self.port), "--tls-cert", str(folder / "gateway.crt")]
        flags += ["--tls-key", str(folder / "gateway.key")]
        self.process = PlatformProcess(
            "gateway", *flags, log=folder / "gateway.log", TOWNTWIN_DSN=gateway_dsn
        )

    def new_key(self, area: str | None, *scopes: str, role: Role = Role.VIEWER) -> str:
        """Return a new key of an area, by default one that may forward and nothing else."""
        with opened(self._dsn) as store:
            return api_keys.create_key(
                ApiKeyStore(store),
                name="town",
                role=role,
                area_id=area,
                scopes=scopes or ("federation",),
                created_by="tests",
            )[1]
