"""Renders entities as JSON (18-088, clauses 8.1 and 9.2) with links, selections and expansions."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from gateway.sta import path
from gateway.sta.kinds import DATASTREAM, OBSERVATION, Kind
from gateway.sta.nodes import Span

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.sta.options import Query
    from gateway.sta.pages import Page, Pager
    from gateway.sta.path import Source
    from gateway.sta.world import Entity, Id, World

DEFAULT_PAGE = 100
MOST_ENTITIES = 20_000
SAFE = "$(),;=/':@-._~"


class Renderer:
    """Writes one answer: of at most so many entities, with everything that is expanded."""

    def __init__(self, root: str, world: World, pager: Pager, page_rows: int) -> None:
        self._root = root
        self._world = world
        self._pager = pager
        self._page_rows = page_rows
        self._left = MOST_ENTITIES
        self._options_texts: dict[tuple[int, tuple[str, ...]], str] = {}
        self.observations = 0
        """Those that were written, wherever they stand."""

    def set(self, source: Source, query: Query, address: str) -> dict[str, Any]:
        """A page of a set; ``address`` is that of the set."""
        page = self._page(source, query)
        self._pager.read_ahead(page.entities, query, self._size)
        return self._whole(page, [self.entity(one, query) for one in page.entities], query, address)

    def references(self, source: Source, query: Query, address: str) -> dict[str, Any]:
        """A page of the selfLinks of a set."""
        page = self._page(source, query)
        links = [{"@iot.selfLink": self.self_link(one)} for one in page.entities]
        return self._whole(page, links, query, address)

    def data_array(self, source: Source, query: Query, address: str) -> dict[str, Any]:
        """A page of observations in the data array form: one table a Datastream (clause 12)."""
        page = self._page(source, query)
        unasked = {"validTime"} if query.select is None else set()
        names = [one for one in OBSERVATION.properties if query.shows(one) and one not in unasked]
        tables: dict[int, list[list[Any]]] = {}
        for one in page.entities:
            values = self._world.values(one)
            series_id = int(str(one.id).partition("-")[0])
            tables.setdefault(series_id, []).append([written(values[name]) for name in names])
        value = [
            {
                "Datastream@iot.navigationLink": f"{self._root}/Datastreams({series_id})",
                "components": names,
                "dataArray@iot.count": len(rows),
                "dataArray": rows,
            }
            for series_id, rows in tables.items()
        ]
        return self._whole(page, value, query, address)

    def entity(self, entity: Entity, query: Query) -> dict[str, Any]:
        """An entity with what is selected and expanded."""
        self_link = self.self_link(entity)
        if entity.kind is DATASTREAM:  # else all of them would be loaded with the first one
            self._world.load([int(entity.id)])
        values = self._world.values(entity)
        out: dict[str, Any] = {}
        for name in ("@iot.id", "@iot.selfLink"):
            if query.shows(name):
                out[name] = entity.id if name == "@iot.id" else self_link
        for name in entity.kind.properties:
            if name != "id" and query.shows(name) and (found := written(values[name])) is not None:
                out[name] = found
        for link in entity.kind.links:
            if query.shows(link):
                out[f"{link}@iot.navigationLink"] = f"{self_link}/{link}"
            if link in query.expand:
                out |= self._expanded(entity, link, query.expand[link], f"{self_link}/{link}")
        return out

    def self_link(self, entity: Entity) -> str:
        """The address of an entity."""
        return f"{self._root}/{entity.kind.plural}({literal(entity.id)})"

    def _expanded(self, entity: Entity, link: str, query: Query, address: str) -> dict[str, Any]:
        found = path.below(entity, link, self._world)
        if not isinstance(found, path.Source):
            self._left -= 1
            return {link: self.entity(found, query)}
        whole = self.set(found, query, address)
        return {link: whole["value"]} | {
            f"{link}{name}": value for name, value in whole.items() if name != "value"
        }

    def _page(self, source: Source, query: Query) -> Page:
        page = self._pager.page(source, query, self._size(query))
        self._left -= len(page.entities)
        self.observations += len(page.entities) if source.kind is OBSERVATION else 0
        return page

    def _size(self, query: Query) -> int:
        """How many entities of a set may be shown."""
        top = DEFAULT_PAGE if query.top is None else query.top
        return max(0, min(top, self._page_rows, self._left))

    def _whole(self, page: Page, value: list[Any], query: Query, address: str) -> dict[str, Any]:
        out: dict[str, Any] = {} if page.count is None else {"@iot.count": page.count}
        out["value"] = value
        if page.following:
            before = self._options_text(query, tuple(page.following))
            text = urlencode(page.following, safe=SAFE, quote_via=quote)
            out["@iot.nextLink"] = f"{address}?{before}{text}"
        return out

    def _options_text(self, query: Query, without: tuple[str, ...]) -> str:
        """The options of a query in a nextLink, without some; every set of an expansion has the same."""
        key = (id(query), without)
        if key not in self._options_texts:
            options = dict(query.written())
            options["$top"] = str(min(DEFAULT_PAGE if query.top is None else query.top, self._page_rows))
            kept = {name: value for name, value in options.items() if name not in without}
            self._options_texts[key] = urlencode(kept, safe=SAFE, quote_via=quote) + "&"
        return self._options_texts[key]


def literal(entity_id: Id) -> str:
    """An id as it stands in an address.

    >>> literal("it's")
    "'it''s'"
    """
    if isinstance(entity_id, int):
        return str(entity_id)
    if entity_id.isascii() and entity_id.replace("-", "").isalnum():  # as of every observation
        return f"'{entity_id}'"
    doubled = entity_id.replace("'", "''")
    return f"'{quote(doubled, safe=SAFE)}'"


def written(value: Any) -> Any:
    """A value as JSON has it; times in UTC (ISO 8601), intervals with a slash."""
    if isinstance(value, Span):
        return f"{written(value.start)}/{written(value.end)}"
    if isinstance(value, dt.datetime):
        in_utc = value if value.tzinfo is dt.UTC else value.astimezone(dt.UTC)
        return f"{in_utc.isoformat()[:-6]}Z"  # without +00:00
    return value


def service(root: str, kinds: Mapping[str, Kind], conformance: list[str]) -> dict[str, Any]:
    """The service document."""
    return {
        "value": [{"name": name, "url": f"{root}/{name}"} for name in kinds],
        "serverSettings": {"conformance": conformance},
    }


def quoted_path(text: str) -> str:
    """A resource path as it stands in an address."""
    return quote(text, safe=SAFE)
