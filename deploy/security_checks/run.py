"""Runs all security checks over the environments of an installation's processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.settings import Settings as GrafanaSettings
from deploy.command_resources import broker_of_settings
from deploy.security_checks import database_checks, file_checks, network_checks
from deploy.security_checks.finding import SecurityReport
from deploy.settings import CommonSettings, SettingsError
from gateway.settings import Settings as GatewaySettings
from ingest_service.storage.postgres.security import is_login_of_another_user
from ingest_service.storage.settings import Settings as StoreSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deploy.security_checks.process_environments import ProcessEnvironment

STORE_SETTINGS = StoreSettings(connections=1, connect_timeout_s=3, statement_timeout_s=5, answer_timeout_s=6)


def check_security(
    common: CommonSettings, environments: Sequence[ProcessEnvironment], certificate_folder: Path | None = None
) -> SecurityReport:
    """Return what is weak in an installation.

    Parameters
    ----------
    common : settings of the command, with its flags; they count like those of an environment
    environments : of this process, and of the files of other processes
    certificate_folder : folder of `towntwin ca`; None where there is none

    """
    report = SecurityReport()
    all_common = [common]
    plain_ports: set[int] = set()
    for one in environments:
        try:
            all_common.append(one.settings(CommonSettings, None))
            network_checks.check_gateway(report, one.settings(GatewaySettings, "gateway"))
        except SettingsError as error:
            report.add_unchecked(str(one.file or "environment"), str(error))
    for broker_settings in _distinct(all_common, "broker"):
        try:
            broker = broker_of_settings(broker_settings)
        except SettingsError as error:
            report.add_unchecked("broker", str(error))
            continue
        network_checks.check_broker(report, broker)
        if broker.tls is None:
            plain_ports.add(broker.port)
    network_checks.check_plain_mqtt_port(report, plain_ports)
    grafana_users = [one.settings(GrafanaSettings, "grafana").db_user for one in environments]
    for at, database_settings in enumerate(_distinct(all_common, "dsn")):
        dsn = str(database_settings.dsn)
        if at > 0 and is_login_of_another_user(dsn):
            continue  # its rights are checked with those of all members of the platform's roles
        for user in dict.fromkeys(grafana_users) or [None]:
            database_checks.check_database(report, dsn, STORE_SETTINGS, grafana_user=user)
        if at == 0:
            database_checks.check_platform_rows(report, dsn, STORE_SETTINGS)
    folder_files = [] if certificate_folder is None else sorted(certificate_folder.glob("*.crt"))
    folder_keys = [] if certificate_folder is None else sorted(certificate_folder.glob("*.key"))
    file_checks.check_secret_files(
        report, dict.fromkeys([*(path for one in environments for path in one.secret_files()), *folder_keys])
    )
    file_checks.check_certificates(
        report,
        dict.fromkeys(
            [
                *(path for one in environments for path in one.certificates()),
                *(path for path in folder_files if path.stem != "ca"),
            ]
        ),
        dict.fromkeys(
            [
                *(path for one in environments for path in one.authorities()),
                *(path for path in folder_files if path.stem == "ca"),
            ]
        ),
    )
    return report


def _distinct(settings: Sequence[CommonSettings], field: str) -> list[CommonSettings]:
    """Return one of the settings for each value of a field, without those that have none."""
    found = {getattr(one, field): one for one in reversed(settings) if getattr(one, field) is not None}
    return list(reversed(found.values()))
