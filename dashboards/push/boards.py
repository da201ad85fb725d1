"""Pushes dashboards; recognises its own saves by their version message, which begins with `MARK`."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from dashboards.alerting.rules import FOLDER
from dashboards.generate import files
from dashboards.push.api import found, said
from dashboards.push.change import Change, Verdict, digest

if TYPE_CHECKING:
    from grafana_client.api import GrafanaApi

MARK = "towntwin push "


def changes(grafana: GrafanaApi) -> list[Change]:
    """What is to be done to each."""
    return [_dashboard(grafana, json.loads(text)) for text in files().values()]


def _dashboard(grafana: GrafanaApi, wanted: dict[str, Any]) -> Change:
    uid = wanted["uid"]
    what = f"dashboard {uid}"
    there = found(partial(grafana.dashboard.get_dashboard, uid), what)
    before = (
        {key: one for key, one in there["dashboard"].items() if key not in ("id", "version")}
        if there
        else None
    )
    verdict: Verdict = "new"
    why = ""
    if there:
        verdict, why = _judged(grafana, there, before, wanted)

    def write() -> None:
        kept = there["dashboard"] if there else {"id": None, "version": 0}
        folder = there["meta"].get("folderUid", FOLDER) if there else FOLDER
        body = {
            "dashboard": {**wanted, "id": kept["id"], "version": kept["version"]},
            "folderUid": folder,
            "message": MARK + digest(wanted),
            "overwrite": False,  # who saves it between our look and now is not overwritten
        }
        with said(what):
            grafana.dashboard.update_dashboard(body)

    return Change(what=what, verdict=verdict, before=before, after=wanted, write=write, why=why)


def _judged(
    grafana: GrafanaApi, there: dict[str, Any], before: Any, wanted: dict[str, Any]
) -> tuple[Verdict, str]:
    if there["meta"].get("provisioned"):
        return "foreign", "it comes from a provisioning file: change the file, or take it away"
    newest = _newest(grafana, wanted["uid"])
    message = newest.get("message", "")
    if message == MARK + digest(wanted) or before == wanted:
        return "same", ""
    if message.startswith(MARK):
        return "ours", ""
    who = newest.get("createdBy") or "somebody"
    return "foreign", f"{who} saved version {newest.get('version')} of it ({message or 'without a message'})"


def _newest(grafana: GrafanaApi, uid: str) -> dict[str, Any]:
    """The newest version: a list in older Grafanas, in newer ones a page with the list in it."""
    with said(f"versions of dashboard {uid}"):
        answer = grafana.dashboard_versions.get_dashboard_versions(dashboard_uid=uid, limit=1)
    listed = answer["versions"] if isinstance(answer, dict) else answer
    return dict(listed[0]) if listed else {}
