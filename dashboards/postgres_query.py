"""Builds the panels' queries to Grafana's PostgreSQL data source from named SQL files.

The Grafana foundation SDK has no builder for this data source.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from grafana_foundation_sdk.cog import builder, variants
from grafana_foundation_sdk.models.common import DataSourceRef

from analytics.incidents.incident_text import CAUSES, STATE_NAMES
from analytics.quality.detector_names import DETECTORS
from dashboards.actions import ACTIONS
from dashboards.translations import LANGUAGES, TRANSLATIONS, translate
from edge.wire.quantities import QUANTITIES
from ingest_service.storage.dead_letter_reasons import REASONS
from ingest_service.storage.postgres import named_queries

if TYPE_CHECKING:
    from dashboards.translations import Language

NAMES: dict[str, dict[str, tuple[str, str]]] = {
    "quantity": {name: (one.en, one.zh) for name, one in QUANTITIES.items()},
    "detector": DETECTORS,
    "reason": {name: (one.en, one.zh) for name, one in REASONS.items()},
    "measure": {
        name: (f"{one.en} [{one.unit}]", f"{one.zh} [{one.unit}]") for name, one in QUANTITIES.items()
    },
    "unit": {name: (f"[{one.unit}]", f"[{one.unit}]") for name, one in QUANTITIES.items()},
    "action": {name: TRANSLATIONS[f"do_{action}"] for name, action in ACTIONS.items()},
    "cause": {
        **{
            name.removeprefix("cause/"): names
            for name, names in DETECTORS.items()
            if name.startswith("cause/")
        },
        **CAUSES,
    },
    "state": STATE_NAMES,
    "relation": {
        key.removeprefix("table_"): texts
        for key, texts in TRANSLATIONS.items()
        if key.startswith("table_") and not key.startswith("table_sizes")
    },
    "change": {
        key.removeprefix("change_"): texts for key, texts in TRANSLATIONS.items() if key.startswith("change_")
    },
    "heading": {one: TRANSLATIONS[f"heading_{one}"] for one in ("n", "ne", "e", "se", "s", "sw", "w", "nw")},
}
_NAMED = re.compile(r"NAMED\((?P<kind>[a-z]+), (?P<column>[a-z_.]+)\)")
_BIN = re.compile(r"\bBIN\((?P<column>[a-z_.]+)\)")
_WORD = re.compile(r"WORD\((?P<key>[a-z_]+)\)")
QUERIES = named_queries.load_query_folder("queries", "dashboards")
DATASOURCE_UID = "towntwin-postgres"
REPLICA_UID = "towntwin-replica"
DATASOURCE_TYPE = "grafana-postgresql-datasource"

ResultFormat = Literal["table", "time_series"]


def datasource() -> DataSourceRef:
    """Return the reference to the data source that every panel queries."""
    return DataSourceRef(type_val=DATASOURCE_TYPE, uid=DATASOURCE_UID)


def raw_sql(name: str, language: Language, **substitutions: str) -> str:
    """Return a named query with its placeholders replaced.

    ``LANG`` stands for the labels' language, ``_KINDS`` for the keyword argument ``kinds`` (likewise for
    every other keyword), and ``NAMED(quantity, x)`` for the name of the quantity in column x; likewise
    ``detector``, ``reason``, ``measure`` (quantity with unit), ``unit`` (of the quantity), ``action`` (on
    what the detector found), ``cause`` and ``state`` (of incidents), ``change`` (of scenarios), ``relation``
    (database table) and ``heading``. ``WORD(key)`` stands for a text of `words.toml`. ``BINS`` is the common
    table expression ``bin`` of the bins of the chosen time, and ``BIN(x)`` the bin of the time in column x:
    bars as wide as a bin need a row for every bin, also for an empty one.
    """
    text: str = QUERIES[name]
    for key, value in substitutions.items():
        text = text.replace(f"_{key.upper()}", value)
    text = _NAMED.sub(lambda match: _case(match["kind"], match["column"], language), text)
    text = re.sub(r"\bBINS\b", lambda _match: QUERIES["bins"], text)
    text = _BIN.sub(lambda match: QUERIES["bin_of"].replace("COLUMN", match["column"]), text)
    text = _WORD.sub(lambda match: _literal(translate(match["key"], language)), text)
    return text.replace("LANG", language)


def _case(kind: str, column: str, language: Language) -> str:
    """Return an SQL CASE from identifiers to names; an identifier without a name is returned as it is."""
    at = LANGUAGES.index(language)
    cases = " ".join(f"WHEN '{key}' THEN {_literal(names[at])}" for key, names in NAMES[kind].items())
    return f"CASE {column} {cases} ELSE {column} END"


def _literal(text: str) -> str:
    """Return an SQL literal; a name may contain an apostrophe."""
    return "'" + text.replace("'", "''") + "'"


class PostgresTarget(variants.Dataquery):
    """A panel's query as encoded in the dashboard's JSON (Grafana calls it a target)."""

    def __init__(self, text: str, result_format: ResultFormat, ref_id: str) -> None:
        self._raw_sql = text
        self._result_format = result_format
        self._ref_id = ref_id

    def to_json(self) -> dict[str, object]:
        """Return the target in Grafana's format."""
        return {
            "datasource": {"type": DATASOURCE_TYPE, "uid": DATASOURCE_UID},
            "editorMode": "code",
            "format": self._result_format,
            "rawQuery": True,
            "rawSql": self._raw_sql,
            "refId": self._ref_id,
        }


class NamedQueryBuilder(builder.Builder[variants.Dataquery]):
    """Builder of a target from a named query, as the foundation SDK's panels take it."""

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
        """Return the target."""
        return self._query
