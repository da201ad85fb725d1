"""Creates the Grafana folder of the dashboards, and creates or updates their PostgreSQL data source."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from dashboards.alerting.alert_rules import FOLDER
from dashboards.data_source import build_data_sources
from dashboards.postgres_query import DATASOURCE_TYPE
from dashboards.push.change import GrafanaChange, without_additions
from dashboards.push.grafana_connection import convert_grafana_errors, get_or_none

if TYPE_CHECKING:
    from grafana_client.api import GrafanaApi

    from dashboards.grafana_versions import GrafanaFeatures
    from dashboards.settings import Settings


OLDER_TYPE = "postgres"


def basic_changes(grafana: GrafanaApi, settings: Settings, features: GrafanaFeatures) -> list[GrafanaChange]:
    """Return the changes to the folder and the data sources."""
    sources = build_data_sources(settings, features)
    return [folder_change(grafana), *(_data_source(grafana, one, settings) for one in sources)]


def folder_change(grafana: GrafanaApi) -> GrafanaChange:
    """Return the change to the folder; an existing one is left unchanged, even if it was renamed."""
    object_name = f"folder {FOLDER}"
    existing = get_or_none(partial(grafana.folder.get_folder, FOLDER), object_name)
    desired = {"title": FOLDER, "uid": FOLDER}

    def write() -> None:
        with convert_grafana_errors(object_name):
            grafana.folder.create_folder(FOLDER, uid=FOLDER)

    return GrafanaChange(
        object_name=object_name,
        verdict="same" if existing else "new",
        before=existing,
        after=desired,
        write=write,
    )


def _data_source(grafana: GrafanaApi, desired: dict[str, Any], settings: Settings) -> GrafanaChange:
    object_name = f"data source {desired['name']}"
    existing = get_or_none(partial(grafana.datasource.get_datasource_by_uid, desired["uid"]), object_name)
    if existing is not None and desired["type"] == DATASOURCE_TYPE and existing["type"] == OLDER_TYPE:
        desired = {**desired, "type": OLDER_TYPE}  # made in an older Grafana; the newer one knows the alias
    password = {"password": settings.db_password} if settings.db_password else {}
    with_password = {**desired, "secureJsonData": password}
    is_same = existing is not None and without_additions(existing, desired) == desired

    def write() -> None:
        with convert_grafana_errors(object_name):
            if existing is None:
                grafana.datasource.create_datasource(with_password)
            else:
                grafana.datasource.update_datasource_by_uid(
                    desired["uid"],
                    {
                        **existing,
                        **with_password,
                        "jsonData": {**existing["jsonData"], **desired["jsonData"]},
                    },
                )

    return GrafanaChange(
        object_name=object_name,
        verdict="new" if existing is None else "same" if is_same else "foreign",
        before=without_additions(existing, desired),
        after=desired,
        write=write,
        why="it is not what the settings say: a person changed it, or the settings are new",
    )
