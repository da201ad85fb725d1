"""Folder and data source."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from dashboards.alerting.rules import FOLDER
from dashboards.postgres_query import DATASOURCE_TYPE, DATASOURCE_UID
from dashboards.push.api import found, said
from dashboards.push.change import Change, like

if TYPE_CHECKING:
    from grafana_client.api import GrafanaApi

    from dashboards.settings import Settings


def changes(grafana: GrafanaApi, settings: Settings) -> list[Change]:
    """What is to be done to both."""
    return [_folder(grafana), _data_source(grafana, settings)]


def _folder(grafana: GrafanaApi) -> Change:
    """A folder that is there stays as it is, whatever it is called by now."""
    what = f"folder {FOLDER}"
    there = found(partial(grafana.folder.get_folder, FOLDER), what)
    wanted = {"title": FOLDER, "uid": FOLDER}

    def write() -> None:
        with said(what):
            grafana.folder.create_folder(FOLDER, uid=FOLDER)

    return Change(what=what, verdict="same" if there else "new", before=there, after=wanted, write=write)


def data_source(settings: Settings) -> dict[str, Any]:
    """The data source, but for its password, which Grafana never tells."""
    return {
        "uid": DATASOURCE_UID,
        "name": "towntwin",
        "type": DATASOURCE_TYPE,
        "access": "proxy",
        "url": settings.db_host,
        "user": settings.db_user,
        "jsonData": {
            "database": settings.db_name,
            "sslmode": settings.db_sslmode,
            "postgresVersion": 1500,
            "timescaledb": False,
            "maxOpenConns": 10,
        },
    }


def _data_source(grafana: GrafanaApi, settings: Settings) -> Change:
    wanted = data_source(settings)
    what = f"data source {wanted['name']}"
    there = found(partial(grafana.datasource.get_datasource_by_uid, DATASOURCE_UID), what)
    password = {"password": settings.db_password} if settings.db_password else {}
    whole = {**wanted, "secureJsonData": password}
    is_same = there is not None and like(there, wanted) == wanted

    def write() -> None:
        with said(what):
            if there is None:
                grafana.datasource.create_datasource(whole)
            else:
                grafana.datasource.update_datasource_by_uid(
                    DATASOURCE_UID,
                    {**there, **whole, "jsonData": {**there["jsonData"], **wanted["jsonData"]}},
                )

    return Change(
        what=what,
        verdict="new" if there is None else "same" if is_same else "foreign",
        before=like(there, wanted),
        after=wanted,
        write=write,
        why="it is not what the settings say: a person changed it, or the settings are new",
    )
