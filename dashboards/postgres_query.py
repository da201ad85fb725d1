"""A query to Grafana's PostgreSQL data source, which the foundation SDK has no builder for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from grafana_foundation_sdk.cog import builder, variants
from grafana_foundation_sdk.models.common import DataSourceRef

from analytics.quality.detector_names import DETECTORS
from dashboards.translations import LANGUAGES
from edge.wire.quantities import QUANTITIES
from ingest_service.storage.dead_letter_reasons import REASONS
from ingest_service.storage.postgres import named_queries

if TYPE_CHECKING:
    from dashboards.translations import Language

NAMES: dict[str, dict[str, tuple[str, str]]] = {
    "quantity": {name: (one.en, one.zh) for name, one in QUANTITIES.items()},
    "detector": DETECTORS,
    "reason": {name: (one.en, one.zh) for name, one in REASONS.items()},
}
_NAMED = re.compile(r"NAMED\((?P<kind>[a-z]+), (?P<column>[a-z_.]+)\)")
QUERIES = named_queries.load_query_folder("queries", "dashboards")
DATASOURCE_UID = "towntwin-postgres"
DATASOURCE_TYPE = "grafana-postgresql-datasource"

ResultFormat = Literal["table", "time_series"]


def datasource() -> DataSourceRef:
    """The data source that every panel asks."""
    return DataSourceRef(type_val=DATASOURCE_TYPE, uid=DATASOURCE_UID)


def raw_sql(name: str, language: Language, **substitutions: str) -> str:
    """A named query with its placeholders replaced.

    ``LANG`` stands for the labels' language, ``_NAMING_RULES_OF`` for what is given as ``name``, and
    ``NAMED(quantity, x)`` for the name of the quantity in column x; likewise ``detector`` and ``reason``.
    """
    text: str = QUERIES[name]
    for key, value in substitutions.items():
        text = text.replace(f"_{key.upper()}", value)
    text = _NAMED.sub(lambda found: _case(found["kind"], found["column"], language), text)
    return text.replace("LANG", language)


def _case(kind: str, column: str, language: Language) -> str:
    """SQL that gives the name for an identifier, the identifier itself where there is no name."""
    at = LANGUAGES.index(language)
    cases = " ".join(f"WHEN '{key}' THEN '{names[at]}'" for key, names in NAMES[kind].items())
    return f"CASE {column} {cases} ELSE {column} END"


class PostgresTarget(variants.Dataquery):
    """What a panel's target is in the dashboard's JSON."""

    def __init__(self, text: str, result_format: ResultFormat, ref_id: str) -> None:
        self._text = text
        self._shape = result_format
        self._ref_id = ref_id

    def to_json(self) -> dict[str, object]:
        """The target as Grafana writes it."""
        return {
            "datasource": {"type": DATASOURCE_TYPE, "uid": DATASOURCE_UID},
            "editorMode": "code",
            "format": self._shape,
            "rawQuery": True,
            "rawSql": self._text,
            "refId": self._ref_id,
        }


class NamedQueryBuilder(builder.Builder[variants.Dataquery]):
    """Builds a target from a named query."""

    def __init__(
        self,
        name: str,
        language: Language,
        *,
        result_format: ResultFormat = "table",
        ref_id: str = "A",
        **substitutions: str,
    ) -> None:
        self._query = PostgresTarget(raw_sql(name, language, **substitutions), result_format, ref_id)

    def build(self) -> variants.Dataquery:
        """The target."""
        return self._query
