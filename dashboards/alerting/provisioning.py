"""Writes the alert rules, notification policy and contact points as Grafana provisioning files (YAML).

Grafana substitutes environment variables in these files, so literal dollar signs are doubled.
"""

from __future__ import annotations

from typing import Any

import yaml

from dashboards.alerting.alert_rules import EVALUATION_INTERVAL_S, FOLDER, GROUP, build_alert_rules
from dashboards.alerting.contact_points import CONTACT_POINT_NAME, build_contact_points, notification_route
from dashboards.settings import Settings

HEAD = "# Written by `python -m dashboards` from dashboards/alerting; change it there.\n"
FILE_KEYS = {"keep_firing_for": "keepFiringFor"}
KEYS_NOT_IN_FILES = {"orgID", "folderUID", "ruleGroup"}
PLACEHOLDER_SETTINGS = Settings(
    webhook_url="$TOWNTWIN_GRAFANA_WEBHOOK_URL",
    dingtalk_url="$TOWNTWIN_GRAFANA_DINGTALK_URL",
    emails=["$TOWNTWIN_GRAFANA_EMAILS"],
)


def provisioning_files() -> dict[str, str]:
    """Return every file's text by its path in the provisioning folder.

    There is one file for each kind of contact point; an operator copies those in use.
    """
    files: dict[str, Any] = {
        "alerting/rules.yaml": {"groups": [_group()]},
        "alerting/policies.yaml": {
            "policies": [
                {
                    "orgId": 1,
                    "receiver": "grafana-default-email",
                    "group_by": ["alertname"],
                    "routes": [notification_route()],
                }
            ]
        },
    }
    for one in build_contact_points(PLACEHOLDER_SETTINGS):
        receiver = {key: one[key] for key in ("uid", "type", "settings", "disableResolveMessage")}
        if "message" in receiver["settings"]:
            receiver["settings"] = {
                **receiver["settings"],
                "message": _with_doubled_dollars(receiver["settings"]["message"]),
            }
        point = {"orgId": 1, "name": CONTACT_POINT_NAME, "receivers": [receiver]}
        files[f"contact_points/{one['type']}.yaml"] = {"contactPoints": [point]}
    return {name: HEAD + _yaml_text({"apiVersion": 1, **content}) for name, content in files.items()}


def _group() -> dict[str, Any]:
    made = [
        {FILE_KEYS.get(key, key): value for key, value in one.items() if key not in KEYS_NOT_IN_FILES}
        for one in build_alert_rules()
    ]
    return {
        "orgId": 1,
        "name": GROUP,
        "folder": FOLDER,
        "interval": f"{EVALUATION_INTERVAL_S}s",
        "rules": _with_doubled_dollars(made),
    }


def _with_doubled_dollars(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: _with_doubled_dollars(one) for key, one in value.items()}
    return [_with_doubled_dollars(one) for one in value] if isinstance(value, list) else value


def _yaml_text(content: dict[str, Any]) -> str:
    written: str = yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=10_000)
    return written
