"""Settings for pushing to Grafana: its address and token, alert contact points, and its database login."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

DEFAULT_CONSOLE_URL = "http://127.0.0.1:8080"
"""Stands in the generated files, and is replaced by the setting."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of `towntwin dashboards push`."""

    url: Annotated[str, Meta(description="Address of Grafana.", pattern="^https?://")] = (
        "http://127.0.0.1:3000"
    )
    token: Annotated[str | None, Meta(description="Token of a Grafana service account (role Admin).")] = None
    console_url: Annotated[
        str,
        Meta(
            description="Address of the console as browsers reach it, for links to incidents.",
            pattern=r"^https?://[^\s\"\\{}$]+$",
        ),
    ] = DEFAULT_CONSOLE_URL
    webhook_url: Annotated[str | None, Meta(description="Alerts are posted to this address.")] = None
    dingtalk_url: Annotated[str | None, Meta(description="Address of a DingTalk robot for alerts.")] = None
    emails: Annotated[list[str], Meta(description="E-mail addresses for alerts, by comma.")] = []
    map_tiles: Annotated[
        str | None,
        Meta(
            description="Raster tiles below the maps, of an own tile or PMTiles server: address with {z}, {x}"
            " and {y}. None by default: maps then show the town's own rivers and roads and load nothing.",
        ),
    ] = None
    map_attribution: Annotated[str, Meta(description="Source of the tiles, written on the maps.")] = ""
    db_host: Annotated[str, Meta(description="Database as Grafana sees it, host:port.")] = "127.0.0.1:5432"
    replica_host: Annotated[
        str | None,
        Meta(
            description="Streaming replica of the database, host:port, from which every dashboard but the"
            " platform's reads; alerts and the platform's dashboard read the database itself."
        ),
    ] = None
    db_name: Annotated[str, Meta(description="Name of the database.")] = "towntwin"
    db_user: Annotated[
        str, Meta(description="Database user of Grafana, a member of towntwin_grafana: sees views only.")
    ] = "grafana"
    db_password: Annotated[str | None, Meta(description="Password of that user.")] = None
    db_sslmode: Annotated[
        Literal["disable", "require", "verify-ca", "verify-full"],
        Meta(description="How Grafana's connection is secured."),
    ] = "require"
