"""Pushes the generated dashboards to Grafana, unless the newest version there was saved by hand.

A version saved by a push is recognised by the prefix of its message.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from dashboards.alerting.alert_rules import FOLDER
from dashboards.generate import dashboard_files
from dashboards.push.change import GrafanaChange, Verdict, digest
from dashboards.push.grafana_connection import convert_grafana_errors, get_or_none

if TYPE_CHECKING:
    from grafana_client.api import GrafanaApi

    from dashboards.settings import Settings

VERSION_MESSAGE_PREFIX = "towntwin push "


def dashboard_changes(grafana: GrafanaApi, settings: Settings) -> list[GrafanaChange]:
    """Return the change to make to each generated dashboard."""
    return [_dashboard(grafana, json.loads(text)) for text in dashboard_files(settings).values()]


def _dashboard(grafana: GrafanaApi, desired: dict[str, Any]) -> GrafanaChange:
    uid = desired["uid"]
    object_name = f"dashboard {uid}"
    existing = get_or_none(partial(grafana.dashboard.get_dashboard, uid), object_name)
    before = (
        {key: one for key, one in existing["dashboard"].items() if key not in ("id", "version")}
        if existing
        else None
    )
    verdict: Verdict = "new"
    why = ""
    if existing:
        verdict, why = _dashboard_verdict(grafana, existing, before, desired)

    def write() -> None:
        id_and_version = existing["dashboard"] if existing else {"id": None, "version": 0}
        folder = existing["meta"].get("folderUid", FOLDER) if existing else FOLDER
        body = {
            "dashboard": {**desired, "id": id_and_version["id"], "version": id_and_version["version"]},
            "folderUid": folder,
            "message": VERSION_MESSAGE_PREFIX + digest(desired),
            "overwrite": False,  # a version saved since `existing` was read is not overwritten
        }
        with convert_grafana_errors(object_name):
            grafana.dashboard.update_dashboard(body)

    return GrafanaChange(
        object_name=object_name, verdict=verdict, before=before, after=desired, write=write, why=why
    )


def _dashboard_verdict(
    grafana: GrafanaApi, existing: dict[str, Any], before: Any, desired: dict[str, Any]
) -> tuple[Verdict, str]:
    if existing["meta"].get("provisioned"):
        return "foreign", "it comes from a provisioning file: change the file, or take it away"
    newest = newest_version(grafana, desired["uid"])
    message = newest.get("message", "")
    if message == VERSION_MESSAGE_PREFIX + digest(desired) or before == desired:
        return "same", ""
    if message.startswith(VERSION_MESSAGE_PREFIX):
        return "ours", ""
    saved_by = newest.get("createdBy") or "somebody"
    return (
        "foreign",
        f"{saved_by} saved version {newest.get('version')} of it ({message or 'without a message'})",
    )


def newest_version(grafana: GrafanaApi, uid: str) -> dict[str, Any]:
    """Return the newest version; older Grafana versions return a list, newer ones a page with the list."""
    with convert_grafana_errors(f"versions of dashboard {uid}"):
        answer = grafana.dashboard_versions.get_dashboard_versions(dashboard_uid=uid, limit=1)
    listed = answer["versions"] if isinstance(answer, dict) else answer
    return dict(listed[0]) if listed else {}
