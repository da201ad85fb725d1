"""The same rules, policy and contact points as provisioning files, for a Grafana that is set up from files.

Grafana puts environment variables into these files, so a dollar of ours is doubled.
"""

from __future__ import annotations

from typing import Any

import yaml

from dashboards.alerting.contacts import NAME, contacts, route
from dashboards.alerting.rules import FOLDER, GROUP, INTERVAL_S, rules
from dashboards.settings import Settings

HEAD = "# Written by `python -m dashboards` from dashboards/alerting; change it there.\n"
IN_FILES = {"keep_firing_for": "keepFiringFor"}
NOT_IN_FILES = {"orgID", "folderUID", "ruleGroup"}
PLACES = Settings(
    webhook_url="$TOWNTWIN_GRAFANA_WEBHOOK_URL",
    dingtalk_url="$TOWNTWIN_GRAFANA_DINGTALK_URL",
    emails=["$TOWNTWIN_GRAFANA_EMAILS"],
)


def provisioned() -> dict[str, str]:
    """Every file, by its path in the provisioning folder; of the contact points, take those in use."""
    files: dict[str, Any] = {
        "alerting/rules.yaml": {"groups": [_group()]},
        "alerting/policies.yaml": {
            "policies": [
                {
                    "orgId": 1,
                    "receiver": "grafana-default-email",
                    "group_by": ["alertname"],
                    "routes": [route()],
                }
            ]
        },
    }
    for one in contacts(PLACES):
        receiver = {key: one[key] for key in ("uid", "type", "settings", "disableResolveMessage")}
        if "message" in receiver["settings"]:
            receiver["settings"] = {
                **receiver["settings"],
                "message": _doubled(receiver["settings"]["message"]),
            }
        point = {"orgId": 1, "name": NAME, "receivers": [receiver]}
        files[f"contact_points/{one['type']}.yaml"] = {"contactPoints": [point]}
    return {name: HEAD + _text({"apiVersion": 1, **content}) for name, content in files.items()}


def _group() -> dict[str, Any]:
    made = [
        {IN_FILES.get(key, key): value for key, value in one.items() if key not in NOT_IN_FILES}
        for one in rules()
    ]
    return {
        "orgId": 1,
        "name": GROUP,
        "folder": FOLDER,
        "interval": f"{INTERVAL_S}s",
        "rules": _doubled(made),
    }


def _doubled(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: _doubled(one) for key, one in value.items()}
    return [_doubled(one) for one in value] if isinstance(value, list) else value


def _text(content: dict[str, Any]) -> str:
    written: str = yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=10_000)
    return written
