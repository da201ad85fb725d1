"""Renders entities as JSON with links, $select and $expand (18-088, clauses 8.1 and 9.2)."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from gateway.sensorthings import resource_path
from gateway.sensorthings.entity_types import DATASTREAM, OBSERVATION, EntityType
from gateway.sensorthings.expression_tree import TimeInterval

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.sensorthings.entity_model import Entity, EntityId, EntityModel
    from gateway.sensorthings.paging import EntityPage, Pager
    from gateway.sensorthings.query_options import QueryOptions
    from gateway.sensorthings.resource_path import EntitySet

DEFAULT_PAGE_SIZE = 100
MAX_ENTITIES = 20_000
SAFE_CHARACTERS = "$(),;=/':@-._~"


class EntityRenderer:
    """Renders the response to one request, with at most `MAX_ENTITIES` entities including expansions.

    Parameters
    ----------
    root : URL of the API, without a trailing slash
    entity_model : entities of the request
    pager : reads the pages of sets
    page_rows : entities of one set at most

    """

    def __init__(self, root: str, entity_model: EntityModel, pager: Pager, page_rows: int) -> None:
        self._root = root
        self._entity_model = entity_model
        self._pager = pager
        self._page_rows = page_rows
        self._remaining_entities = MAX_ENTITIES
        self._options_texts: dict[tuple[int, tuple[str, ...]], str] = {}
        self.observations = 0
        """Number of Observations rendered so far, expansions included."""

    def render_set(self, entity_set: EntitySet, query: QueryOptions, set_url: str) -> dict[str, Any]:
        """Render a page of a set; ``set_url`` is the URL of the set."""
        page = self._read_page(entity_set, query)
        self._pager.prefetch(page.entities, query, self._page_size)
        return self._with_next_link(
            page, [self.render_entity(one, query) for one in page.entities], query, set_url
        )

    def render_references(self, entity_set: EntitySet, query: QueryOptions, set_url: str) -> dict[str, Any]:
        """Render a page of the selfLinks of a set ($ref)."""
        page = self._read_page(entity_set, query)
        links = [{"@iot.selfLink": self.self_link(one)} for one in page.entities]
        return self._with_next_link(page, links, query, set_url)

    def render_data_array(self, entity_set: EntitySet, query: QueryOptions, set_url: str) -> dict[str, Any]:
        """Render a page of Observations as data arrays, one table for each Datastream (clause 12)."""
        page = self._read_page(entity_set, query)
        omitted = {"validTime"} if query.select is None else set()
        names = [one for one in OBSERVATION.properties if query.is_selected(one) and one not in omitted]
        tables: dict[int, list[list[Any]]] = {}
        for one in page.entities:
            values = self._entity_model.values(one)
            series_id = int(str(one.id).partition("-")[0])
            tables.setdefault(series_id, []).append([json_value(values[name]) for name in names])
        value = [
            {
                "Datastream@iot.navigationLink": f"{self._root}/Datastreams({series_id})",
                "components": names,
                "dataArray@iot.count": len(rows),
                "dataArray": rows,
            }
            for series_id, rows in tables.items()
        ]
        return self._with_next_link(page, value, query, set_url)

    def render_entity(self, entity: Entity, query: QueryOptions) -> dict[str, Any]:
        """Render an entity with the selected properties and the expanded links."""
        self_link = self.self_link(entity)
        if entity.kind is DATASTREAM:  # only this one: `extent` would load all series
            self._entity_model.load_extents([int(entity.id)])
        values = self._entity_model.values(entity)
        rendered: dict[str, Any] = {}
        for name in ("@iot.id", "@iot.selfLink"):
            if query.is_selected(name):
                rendered[name] = entity.id if name == "@iot.id" else self_link
        for name in entity.kind.properties:
            if (
                name != "id"
                and query.is_selected(name)
                and (resolved := json_value(values[name])) is not None
            ):
                rendered[name] = resolved
        for link in entity.kind.links:
            if query.is_selected(link):
                rendered[f"{link}@iot.navigationLink"] = f"{self_link}/{link}"
            if link in query.expand:
                rendered |= self._render_expansion(entity, link, query.expand[link], f"{self_link}/{link}")
        return rendered

    def self_link(self, entity: Entity) -> str:
        """Return the URL of an entity."""
        return f"{self._root}/{entity.kind.plural}({id_literal(entity.id)})"

    def _render_expansion(
        self, entity: Entity, link: str, query: QueryOptions, set_url: str
    ) -> dict[str, Any]:
        resolved = resource_path.follow_link(entity, link, self._entity_model)
        if not isinstance(resolved, resource_path.EntitySet):
            self._remaining_entities -= 1
            return {link: self.render_entity(resolved, query)}
        expanded_set = self.render_set(resolved, query, set_url)
        return {link: expanded_set["value"]} | {
            f"{link}{name}": value for name, value in expanded_set.items() if name != "value"
        }

    def _read_page(self, entity_set: EntitySet, query: QueryOptions) -> EntityPage:
        page = self._pager.page(entity_set, query, self._page_size(query))
        self._remaining_entities -= len(page.entities)
        self.observations += len(page.entities) if entity_set.kind is OBSERVATION else 0
        return page

    def _page_size(self, query: QueryOptions) -> int:
        """Return how many entities of a set may still be rendered."""
        top = DEFAULT_PAGE_SIZE if query.top is None else query.top
        return max(0, min(top, self._page_rows, self._remaining_entities))

    def _with_next_link(
        self, page: EntityPage, value: list[Any], query: QueryOptions, set_url: str
    ) -> dict[str, Any]:
        rendered: dict[str, Any] = {} if page.count is None else {"@iot.count": page.count}
        rendered["value"] = value
        if page.next_options:
            repeated_options = self._options_text(query, tuple(page.next_options))
            text = urlencode(page.next_options, safe=SAFE_CHARACTERS, quote_via=quote)
            rendered["@iot.nextLink"] = f"{set_url}?{repeated_options}{text}"
        return rendered

    def _options_text(self, query: QueryOptions, omitted_names: tuple[str, ...]) -> str:
        """Return a query's options for a nextLink, without some; cached for all sets of an expansion."""
        key = (id(query), omitted_names)
        if key not in self._options_texts:
            options = dict(query.option_texts())
            options["$top"] = str(min(DEFAULT_PAGE_SIZE if query.top is None else query.top, self._page_rows))
            kept = {name: value for name, value in options.items() if name not in omitted_names}
            self._options_texts[key] = urlencode(kept, safe=SAFE_CHARACTERS, quote_via=quote) + "&"
        return self._options_texts[key]


def id_literal(entity_id: EntityId) -> str:
    """Return an id as a URL literal.

    >>> id_literal("it's")
    "'it''s'"
    """
    if isinstance(entity_id, int):
        return str(entity_id)
    if entity_id.isascii() and entity_id.replace("-", "").isalnum():  # fast path: every Observation id
        return f"'{entity_id}'"
    doubled = entity_id.replace("'", "''")
    return f"'{quote(doubled, safe=SAFE_CHARACTERS)}'"


def json_value(value: Any) -> Any:
    """Return a value for JSON: times in UTC (ISO 8601), intervals with a slash."""
    if isinstance(value, TimeInterval):
        return f"{json_value(value.start)}/{json_value(value.end)}"
    if isinstance(value, dt.datetime):
        in_utc = value if value.tzinfo is dt.UTC else value.astimezone(dt.UTC)
        return f"{in_utc.isoformat()[:-6]}Z"  # without +00:00
    return value


def service_document(root: str, kinds: Mapping[str, EntityType], conformance: list[str]) -> dict[str, Any]:
    """Return the service document: entity sets and conformance."""
    return {
        "value": [{"name": name, "url": f"{root}/{name}"} for name in kinds],
        "serverSettings": {"conformance": conformance},
    }


def quote_path(text: str) -> str:
    """Return a resource path with percent encoding."""
    return quote(text, safe=SAFE_CHARACTERS)
