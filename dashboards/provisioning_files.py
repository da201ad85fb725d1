"""Writes Grafana's provisioning files (YAML): data source, dashboards, alert rules, contact points, policy.

Grafana substitutes environment variables (``$NAME``, ``${NAME}``, ``$__env{NAME}``) in most fields; ``$$`` is
a dollar sign there. It takes the annotations and the queries of a rule as they are written (Grafana's pull
request 54975, and `rules_types.go`): a doubled dollar sign would stay doubled in them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import yaml

from dashboards.alerting.alert_rules import EVALUATION_INTERVAL_S, FOLDER, GROUP, build_alert_rules
from dashboards.alerting.contact_points import CONTACT_POINT_NAME, build_contact_points, notification_route
from dashboards.data_source import build_data_source, build_data_sources
from dashboards.generate import dashboard_files
from dashboards.grafana_versions import COMMON_FEATURES, GrafanaFeatures
from dashboards.settings import DEFAULT_CONSOLE_URL, Settings

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "# Written by `python -m dashboards` from dashboards/provisioning_files.py; change it there.\n"
FILE_KEYS = {"keep_firing_for": "keepFiringFor"}
KEYS_NOT_IN_FILES = {"orgID", "folderUID", "ruleGroup"}
FILES_WITH_SECRETS = {"datasources/towntwin.yaml", "alerting/contact_points.yaml"}
RAW_KEYS = {"annotations", "data"}
"""Keys of a rule in which Grafana substitutes nothing."""
VARIABLE = "$TOWNTWIN_GRAFANA_"
PLACEHOLDER_SETTINGS = Settings(
    webhook_url=f"{VARIABLE}WEBHOOK_URL",
    dingtalk_url=f"{VARIABLE}DINGTALK_URL",
    emails=[f"{VARIABLE}EMAILS"],
    db_host=f"{VARIABLE}DB_HOST",
    db_name=f"{VARIABLE}DB_NAME",
    db_user=f"{VARIABLE}DB_USER",
)


def provisioning_files() -> dict[str, str]:
    """Return the text of every committed file by its path in the provisioning folder.

    They are valid in every supported version of Grafana and take addresses and passwords from environment
    variables. There is one file for each kind of contact point; an operator copies those in use.
    """
    files: dict[str, Any] = {
        "alerting/rules.yaml": {"groups": [_group(COMMON_FEATURES)]},
        "alerting/policies.yaml": {"policies": [_policy()]},
        "datasources/towntwin.yaml": {"datasources": [_data_source_of_environment()]},
        "dashboards/towntwin.yaml": {"providers": [_provider("/etc/grafana/towntwin")]},
    }
    for one in build_contact_points(PLACEHOLDER_SETTINGS):
        placeholders = {
            key: value if str(value).startswith(VARIABLE) else with_doubled_dollars(value)
            for key, value in one["settings"].items()
        }
        files[f"contact_points/{one['type']}.yaml"] = {
            "contactPoints": [_contact_point([{**one, "settings": placeholders}])]
        }
    return {name: HEAD + file_text(content) for name, content in files.items()}


def stack_files(settings: Settings, features: GrafanaFeatures, dashboards_folder: str) -> dict[str, str]:
    """Return the text of every file for one stack by its path in the provisioning folder.

    They contain the addresses and passwords of the settings; a password that is not set is taken from the
    environment. The policy replaces Grafana's whole tree, so it is written with a contact point only.

    Parameters
    ----------
    settings : addresses, database login and contact points
    features : what the Grafana that reads the files accepts
    dashboards_folder : absolute path of the folder with the dashboards' JSON, as that Grafana sees it

    """
    password = settings.db_password
    with_password = {
        "secureJsonData": {
            "password": f"{VARIABLE}DB_PASSWORD" if password is None else with_doubled_dollars(password)
        }
    }
    sources = [with_doubled_dollars(one) | with_password for one in build_data_sources(settings, features)]
    files: dict[str, Any] = {
        "datasources/towntwin.yaml": {"datasources": sources},
        "dashboards/towntwin.yaml": {"providers": [_provider(with_doubled_dollars(dashboards_folder))]},
        "alerting/rules.yaml": {"groups": [_group(features, settings.console_url)]},
    }
    if points := build_contact_points(settings):
        point = _contact_point([{**one, "settings": with_doubled_dollars(one["settings"])} for one in points])
        files["alerting/contact_points.yaml"] = {"contactPoints": [point]}
        files["alerting/policies.yaml"] = {"policies": [_policy()]}
    return {name: file_text(content) for name, content in files.items()}


def write_stack_files(folder: Path, settings: Settings, features: GrafanaFeatures) -> list[Path]:
    """Write the provisioning files of one stack and the dashboards' JSON; return their paths.

    Parameters
    ----------
    folder : absolute; for GF_PATHS_PROVISIONING
    settings, features : see `stack_files`

    Raises
    ------
    OSError
        If the folder cannot be written.

    """
    json_folder = folder / "dashboards" / FOLDER
    texts = {folder / name: text for name, text in stack_files(settings, features, str(json_folder)).items()}
    texts |= {json_folder / name: text for name, text in dashboard_files(settings).items()}
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = 0o600 if path.relative_to(folder).as_posix() in FILES_WITH_SECRETS else 0o644
        with os.fdopen(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8"
        ) as file:
            os.fchmod(file.fileno(), mode)  # also where the file was there before
            file.write(text)
    return list(texts)


def _data_source_of_environment() -> dict[str, Any]:
    source = build_data_source(PLACEHOLDER_SETTINGS, COMMON_FEATURES)
    source["jsonData"] = {**source["jsonData"], "sslmode": f"{VARIABLE}DB_SSLMODE"}
    return {**source, "secureJsonData": {"password": f"{VARIABLE}DB_PASSWORD"}}


def _provider(folder: str) -> dict[str, Any]:
    """Return the provider of the dashboards whose JSON is in a folder."""
    return {
        "name": FOLDER,
        "folder": FOLDER,
        "folderUid": FOLDER,
        "type": "file",
        "allowUiUpdates": False,
        "options": {"path": folder},
    }


def _contact_point(points: list[dict[str, Any]]) -> dict[str, Any]:
    keys = ("uid", "type", "settings", "disableResolveMessage")
    return {
        "orgId": 1,
        "name": CONTACT_POINT_NAME,
        "receivers": [{key: one[key] for key in keys} for one in points],
    }


def _policy() -> dict[str, Any]:
    return {
        "orgId": 1,
        "receiver": "grafana-default-email",
        "group_by": ["alertname"],
        "routes": [notification_route()],
    }


def _group(features: GrafanaFeatures, console_url: str = DEFAULT_CONSOLE_URL) -> dict[str, Any]:
    rules = [
        {
            FILE_KEYS.get(key, key): value if key in RAW_KEYS else with_doubled_dollars(value)
            for key, value in one.items()
            if key not in KEYS_NOT_IN_FILES
        }
        for one in build_alert_rules(features, console_url)
    ]
    return {
        "orgId": 1,
        "name": GROUP,
        "folder": FOLDER,
        "interval": f"{EVALUATION_INTERVAL_S}s",
        "rules": rules,
    }


def with_doubled_dollars(value: Any) -> Any:
    """Return a value with every dollar sign doubled, for fields in which Grafana substitutes variables."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: with_doubled_dollars(one) for key, one in value.items()}
    return [with_doubled_dollars(one) for one in value] if isinstance(value, list) else value


def file_text(content: dict[str, Any]) -> str:
    """Return a provisioning file's YAML."""
    written: str = yaml.safe_dump(
        {"apiVersion": 1, **content}, allow_unicode=True, sort_keys=False, width=10_000
    )
    return written
