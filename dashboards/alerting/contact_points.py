"""Builds Grafana contact points (webhook, DingTalk, e-mail) and the notification route to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dashboards.alerting.alert_rules import ALERT_LABEL

if TYPE_CHECKING:
    from dashboards.settings import Settings

CONTACT_POINT_NAME = "towntwin"
"""Name of the one contact point; Grafana groups integrations (webhook, e-mail) of the same name into one."""
MESSAGE = (
    "{{ range .Alerts }}[{{ .Status }}] {{ .Annotations.summary_zh }}\n{{ .Annotations.link_zh }}\n"
    "{{ .Annotations.summary }}\n{{ .Annotations.link }}\n"
    "{{ with .Annotations.console }}{{ . }}\n{{ end }}"
    "{{ with .Annotations.Error }}{{ . }}\n{{ end }}{{ end }}"
)
"""Text of a notification; ``Error`` is Grafana's own annotation of an alert whose query failed."""


def build_contact_points(settings: Settings) -> list[dict[str, Any]]:
    """Return the integrations (webhook, DingTalk, e-mail) that the settings configure."""
    found: list[tuple[str, dict[str, Any]]] = []
    if settings.webhook_url:
        found.append(("webhook", {"url": settings.webhook_url, "httpMethod": "POST"}))
    if settings.dingtalk_url:
        found.append(
            ("dingding", {"url": settings.dingtalk_url, "msgType": "actionCard", "message": MESSAGE})
        )
    if settings.emails:
        found.append(
            ("email", {"addresses": ";".join(settings.emails), "singleEmail": False, "message": MESSAGE})
        )
    return [
        {
            "uid": f"{CONTACT_POINT_NAME}-{kind}",
            "name": CONTACT_POINT_NAME,
            "type": kind,
            "settings": one,
            "disableResolveMessage": False,
        }
        for kind, one in found
    ]


def notification_route() -> dict[str, Any]:
    """Return the route of towntwin's alerts to its contact point: one group per rule and town, every 4 h."""
    return {
        "receiver": CONTACT_POINT_NAME,
        "object_matchers": [[ALERT_LABEL, "=", "true"]],
        "group_by": ["alertname", "area"],
        "group_wait": "30s",
        "group_interval": "5m",
        "repeat_interval": "4h",
    }


def with_notification_route(tree: dict[str, Any]) -> dict[str, Any]:
    """Return a policy tree with towntwin's route first and every other route unchanged."""
    others = [one for one in tree.get("routes") or [] if one.get("receiver") != CONTACT_POINT_NAME]
    return {**tree, "routes": [notification_route(), *others]}
