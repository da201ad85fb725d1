"""Builds Grafana's PostgreSQL data sources, for a push and for a provisioning file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dashboards.postgres_query import DATASOURCE_UID, REPLICA_UID

if TYPE_CHECKING:
    from dashboards.grafana_versions import GrafanaFeatures
    from dashboards.settings import Settings

DATA_SOURCE_NAME = "towntwin"


def build_data_source(settings: Settings, features: GrafanaFeatures) -> dict[str, Any]:
    """Return the data source without its password, which Grafana's API never returns."""
    return {
        "uid": DATASOURCE_UID,
        "name": DATA_SOURCE_NAME,
        "type": features.data_source_type,
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


def build_data_sources(settings: Settings, features: GrafanaFeatures) -> list[dict[str, Any]]:
    """Return the data source of the database, and that of its replica if there is one, without passwords."""
    source = build_data_source(settings, features)
    if settings.replica_host is None:
        return [source]
    replica = {"uid": REPLICA_UID, "name": f"{DATA_SOURCE_NAME} replica", "url": settings.replica_host}
    return [source, source | replica]
