"""Puts one dashboard of the platform above into Grafana, unless the town has one of its own there.

A version saved so is recognised by the prefix of its message, as that of a push is.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from dashboards.alerting.alert_rules import FOLDER
from dashboards.push import folder_and_data_source
from dashboards.push.change import digest
from dashboards.push.dashboard_push import newest_version
from dashboards.push.grafana_connection import (
    PushError,
    convert_grafana_errors,
    get_or_none,
    grafana_connection,
)

if TYPE_CHECKING:
    from grafana_client.api import GrafanaApi

    from dashboards.settings import Settings

VERSION_MESSAGE_PREFIX: Final = "towntwin county "
TIMEOUT_S: Final = 5.0
"""Of each request: the forwarder waits for it."""


def put_county_dashboard(settings: Settings, dashboard: dict[str, Any]) -> None:
    """Save a dashboard with its ``uid`` and ``title``; nothing is written if it is there already.

    Raises
    ------
    GrafanaAwayError
        If Grafana does not answer: a later try may succeed.
    PushError
        If it refuses the dashboard, or a person or the town's own push saved one under this uid.

    """
    object_name = f"dashboard {dashboard['uid']}"
    with grafana_connection(settings, timeout_s=TIMEOUT_S) as grafana:
        existing = get_or_none(partial(grafana.dashboard.get_dashboard, dashboard["uid"]), object_name)
        message = VERSION_MESSAGE_PREFIX + digest(dashboard)
        if existing and _is_saved(grafana, dashboard["uid"], message):
            return
        folder = folder_and_data_source.folder_change(grafana)
        if folder.verdict == "new":
            folder.write()
        id_and_version = existing["dashboard"] if existing else {"id": None, "version": 0}
        body = {
            "dashboard": {**dashboard, "id": id_and_version["id"], "version": id_and_version["version"]},
            "folderUid": existing["meta"].get("folderUid", FOLDER) if existing else FOLDER,
            "message": message,
            "overwrite": False,
        }
        with convert_grafana_errors(object_name):
            grafana.dashboard.update_dashboard(body)


def _is_saved(grafana: GrafanaApi, uid: str, message: str) -> bool:
    """Whether the newest version is the wanted one. Raises `PushError` if it is not the county's."""
    newest = newest_version(grafana, uid)
    found = str(newest.get("message", ""))
    if not found.startswith(VERSION_MESSAGE_PREFIX):
        raise PushError(
            f"dashboard {uid}: {newest.get('createdBy') or 'somebody'} saved version {newest.get('version')}"
            " of it in the town: send it under another uid, or delete that one"
        )
    return found == message
