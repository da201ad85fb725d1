"""Pages of entity sets: filtered, counted, sorted and cut; of observations in SQL, of others in Python."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.problems import ProblemError
from gateway.sta import geometry
from gateway.sta.evaluate import Evaluator, forks_of
from gateway.sta.functions import type_of
from gateway.sta.kinds import DATASTREAM, FEATURE_OF_INTEREST, OBSERVATION, Kind, target
from gateway.sta.lower import Context, Lowering
from gateway.sta.nodes import QueryError, Ref, Span
from gateway.sta.options import Query
from gateway.sta.world import Entity, World, observed
from ingest_service.storage.sensorthings import QueryRefused, QueryTimeout
from ingest_service.storage.terms import Order, Own

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.sta.evaluate import Picks
    from gateway.sta.nodes import Node
    from gateway.sta.path import Source
    from ingest_service.storage.sensorthings import Observed

_JSON = json.JSONEncoder(separators=(",", ":"), check_circular=False)
MOST_SKIPPED = 100_000
MOST_AHEAD = 5_000
MOST_ROWS_AHEAD = 20_000


@dataclass(frozen=True, slots=True)
class Page:
    """Some entities of a set, the options that lead to the next ones, and how many there are in all."""

    entities: list[Entity]
    following: dict[str, str]
    count: int | None = None


class Pager:
    """Pages of the sets of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._evaluator = Evaluator(world)
        self._rows: dict[tuple[int, int], list[Observed]] = {}
        self._counts: dict[int, int] = {}

    def page(self, source: Source, query: Query, size: int) -> Page:
        """The page that a query asks for, of at most ``size`` entities. Raises `ProblemError`."""
        if source.kind is OBSERVATION and (ready := self._ready(source.series_ids, query, size)) is not None:
            return ready
        for node, _ in query.orderby:
            if forks_of(node, source.kind) and not _is_of_observations(node, source.kind):
                detail = "to sort by, name a single value, or Observations/phenomenonTime for the newest one"
                raise QueryError(detail, node.at, option="$orderby")
        if source.kind is OBSERVATION:
            with _naming_options(query):
                return self._observations(source.series_ids, query, size)
        return self._entities(source, query, size)

    def _entities(self, source: Source, query: Query, size: int) -> Page:
        if query.token is not None:
            raise ProblemError(400, f"$skiptoken: {source.kind.plural} have none", where="$skiptoken")
        found = source.entities
        if query.filter is not None:
            found = self._filtered(source.kind, found, query.filter)
        for node, descending in reversed(query.orderby):
            key = partial(self._sort_key, node)
            if _is_of_observations(node, source.kind):
                key = partial(self._extreme, node, newest=descending)
            found = sorted(found, key=key, reverse=descending)
        cut = found[query.skip : query.skip + size]
        more = len(found) > query.skip + len(cut) and query.top != 0
        following = {"$skip": str(query.skip + len(cut))} if more else {}
        if source.kind is DATASTREAM:
            self._world.load(int(one.id) for one in cut)
        return Page(cut, following, len(found) if query.count else None)

    def _extreme(self, node: Node, entity: Entity, *, newest: bool) -> tuple[Any, ...]:
        """The newest or the oldest time of the observations of an entity; first where there are none."""
        extents = [self._world.extent(one) for one in self._world.series_below(entity)]
        measured = isinstance(node, Ref) and node.name == "phenomenonTime"
        if newest:
            times = [one.last if measured else one.last_received for one in extents if one]
        else:
            times = [one.first if measured else one.first_received for one in extents if one]
        return (1, max(times) if newest else min(times)) if times else (0,)

    def _sort_key(self, node: Node, entity: Entity) -> tuple[Any, ...]:
        value: Any = geometry.sortable(self._evaluator.value(node, {(): entity}))
        if value is None:
            return (0,)
        if isinstance(value, Span):
            return (1, "", value.start, value.end)
        return (1, type_of(value).name, value)

    # -- filters that reach observations from elsewhere ----------------------------------------

    def _filtered(self, kind: Kind, entities: list[Entity], node: Node) -> list[Entity]:
        forks = forks_of(node, kind)
        ways = [one for one in forks if _end_of(kind, one) is OBSERVATION]
        if not ways:
            return [one for one in entities if self._evaluator.holds(node, one, forks)]
        way = ways[0]
        if len(ways) > 1 or any(one[: len(way)] == way and one != way for one in forks):
            raise QueryError("this goes on from Observations to a set: ask the other way round", node.at)
        others = [one for one in forks if one != way]
        contexts: list[Context] = []
        places: set[int] = set()
        for place, entity in enumerate(entities):
            for picks in self._evaluator.picks(entity, others, node.at):
                found = [
                    Context(series_id, picks | _around(self._world, series_id, way), place)
                    for series_id in self._read(picks, way)
                ]
                contexts += found
                if not found and self._evaluator.value(node, {**picks, way: None}) is True:
                    places.add(place)
        lowering = Lowering(self._evaluator, contexts, way)
        where = lowering.condition(node)
        with _naming_options(Query(texts={"$filter": ""})):
            held = self._world.observations.holding(lowering.scope(), where)
        places |= {lowering.contexts[one].place for one in held}
        return [one for place, one in enumerate(entities) if place in places]

    def _read(self, picks: Picks, way: tuple[str, ...]) -> list[int]:
        """The series at the end of a way that have any observation."""
        parent = self._evaluator.walk(way[:-1], picks)
        series_ids = [] if parent is None else self._world.series_below(parent)
        return [one for one in series_ids if self._world.extent(one) is not None]

    # -- observations --------------------------------------------------------------------------

    def _observations(self, series_ids: Sequence[int], query: Query, size: int) -> Page:
        if query.skip > MOST_SKIPPED:
            detail = f"$skip: more than {MOST_SKIPPED:,}: follow @iot.nextLink, or filter by phenomenonTime"
            raise ProblemError(400, detail, where="$skip")
        lowering = Lowering(self._evaluator, self._contexts(series_ids, query.filter))
        where = None if query.filter is None else lowering.gathered(query.filter)
        order = [Order(lowering.key(node), descending) for node, descending in query.orderby]
        scope = lowering.scope()
        after = None if query.token is None else decoded(query.token, len(order) + 2)
        ask = size + 1 if size else 0
        rows = self._world.observations.page(
            scope, where, order, after=after, limit=ask, skip=0 if after else query.skip
        )
        page = rows[:size]
        following = {"$skiptoken": encoded(page[-1].keys)} if len(rows) > len(page) else {}
        count = self._world.observations.count(scope, where) if query.count else None
        return Page([observed(one) for one in page], following, count)

    def read_ahead(self, entities: Sequence[Entity], query: Query, size: Callable[[Query], int]) -> None:
        """Read at once what the expansions of some entities show of single Datastreams.

        Parameters
        ----------
        entities : of one kind
        query : what they are shown by
        size : how many entities of a set a query shows

        """
        for link, inner in query.expand.items():
            if not entities or len(entities) > MOST_AHEAD:
                return
            if target(entities[0].kind, link) is not OBSERVATION:
                below = {one: None for each in entities for one in self._world.follow(each, link)}
                if target(entities[0].kind, link) is DATASTREAM:
                    self._world.load(int(one.id) for one in below)
                self.read_ahead(list(below), inner, size)
            elif entities[0].kind is DATASTREAM and _is_plain(inner):
                self._read_ahead([int(one.id) for one in entities], inner, size(inner))

    def _read_ahead(self, series_ids: list[int], query: Query, size: int) -> None:
        if query.count and (uncounted := [one for one in series_ids if one not in self._counts]):
            self._counts |= self._world.observations.counts(uncounted)
        # an expansion inside of another one was read with the outer one
        series_ids = [one for one in series_ids if (id(query), one) not in self._rows]
        if not 0 < size * len(series_ids) <= MOST_ROWS_AHEAD:
            return
        orders = _orders(query)
        if size == 1 and [*map(_by_time, query.orderby)] == [True]:
            self._world.load(series_ids)
            newest = self._world.observations.newest(series_ids)
            extents = {one: self._world.extent(one) for one in series_ids}
            # a second row stands for all the others: it is only looked at to see that there are more
            found = {
                one: [newest[one]] * (1 if extent.first == extent.last else 2)
                for one, extent in extents.items()
                if extent is not None and one in newest
            }
        else:
            found = self._world.observations.of_each(series_ids, orders, limit=size + 1)
        self._rows |= {(id(query), one): found.get(one, []) for one in series_ids}

    def _ready(self, series_ids: Sequence[int], query: Query, size: int) -> Page | None:
        """The page of a single Datastream from what was read ahead, where it was."""
        if len(series_ids) != 1 or not _is_plain(query):
            return None
        (series_id,) = series_ids
        rows = self._rows.get((id(query), series_id)) if size else []
        if rows is None or (query.count and series_id not in self._counts):
            return None
        cut = rows[:size]
        following = {"$skiptoken": encoded(cut[-1].keys)} if len(rows) > len(cut) else {}
        return Page(
            [observed(one) for one in cut], following, self._counts[series_id] if query.count else None
        )

    def _contexts(self, series_ids: Sequence[int], node: Node | None) -> list[Context]:
        """Every way to pick an entity at each link to many that a filter of observations goes on through."""
        forks = forks_of(node, OBSERVATION) if node else []
        at = node.at if node else 0
        if any(_end_of(OBSERVATION, one) is OBSERVATION for one in forks):
            raise QueryError("this comes back to Observations: ask the other way round", at)
        return [
            Context(series_id, picks)
            for series_id in series_ids
            for picks in self._evaluator.onward(_around(self._world, series_id, ()), forks, at)
        ]


def _is_of_observations(node: Node, kind: Kind) -> bool:
    """Whether a key to sort by is a time of the observations of an entity."""
    if not isinstance(node, Ref) or node.name not in {"phenomenonTime", "resultTime"}:
        return False
    ways = (("Observations",), ("Datastreams", "Observations"))
    return kind is not OBSERVATION and node.links in ways


def _is_plain(query: Query) -> bool:
    """Whether observations are shown without a filter, from the first on, in an order of their own times."""
    known = all(_by_time(one) is not None for one in query.orderby)
    return query.filter is None and query.token is None and not query.skip and known


def _by_time(key: tuple[Node, bool]) -> bool | None:
    """Whether a key to sort by is the measured time, newest first; None where it is something else."""
    node, descending = key
    is_time = isinstance(node, Ref) and (node.links, node.name, node.inside) == ((), "phenomenonTime", ())
    return descending if is_time else None


def _orders(query: Query) -> list[Order]:
    return [Order(Own("time"), descending) for _, descending in query.orderby]


@contextmanager
def _naming_options(query: Query) -> Iterator[None]:
    """A statement that failed is the fault of an option that was sent, or of none."""
    sent: list[str] = [name for name in ("$filter", "$orderby") if name in query.texts]
    sent += ["$skip"] if query.skip else []
    sent += ["$count"] if query.count else []
    name = sent[0] if sent else None
    before = f"{name}: " if name else ""
    try:
        yield
    except QueryRefused as error:
        raise ProblemError(400, f"{before}{error}", where=name) from error
    except QueryTimeout as error:
        raise ProblemError(504, f"{before}{error}", where=name) from error


def _end_of(kind: Kind, links: tuple[str, ...]) -> Kind:
    for link in links:
        kind = target(kind, link)
    return kind


def _around(world: World, series_id: int, way: tuple[str, ...]) -> Picks:
    """What every observation of a series leads to."""
    site_id = world.known.series[series_id].site_id
    picks: Picks = {} if way else {(): Entity(OBSERVATION, "")}
    return picks | {
        (*way, "Datastream"): Entity(DATASTREAM, series_id),
        (*way, "FeatureOfInterest"): Entity(FEATURE_OF_INTEREST, site_id),
    }


def encoded(keys: Sequence[Any]) -> str:
    """The keys of a row as an opaque word; moments keep their microseconds."""
    text = _JSON.encode([_tagged(one) for one in keys])
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _tagged(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return {"at": value.astimezone(dt.UTC).isoformat()}
    if isinstance(value, dt.date | dt.time):
        return {"day" if isinstance(value, dt.date) else "clock": value.isoformat()}
    return value


def decoded(token: str, n: int) -> list[Any]:
    """The keys in a token. Raises `ProblemError` where it is none of ours.

    >>> decoded(encoded([1.5, None, 7, dt.datetime(2026, 1, 1, tzinfo=dt.UTC)]), 4)[:3]
    [1.5, None, 7]
    """
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        keys = [_untagged(one) for one in json.loads(text)]
    except (binascii.Error, ValueError, TypeError, RecursionError) as error:
        raise _wrong_token() from error
    if len(keys) != n or type(keys[-2]) is not int or not isinstance(keys[-1], dt.datetime):
        raise _wrong_token()
    return keys


def _wrong_token() -> ProblemError:
    detail = "$skiptoken: take the whole @iot.nextLink of the page before, unchanged"
    return ProblemError(400, detail, where="$skiptoken")


def _untagged(value: Any) -> Any:
    if isinstance(value, dict):
        ((tag, text),) = value.items()
        readers: dict[str, Any] = {"at": dt.datetime, "day": dt.date}
        found = readers.get(tag, dt.time).fromisoformat(text)
        if isinstance(found, dt.datetime) and found.tzinfo is None:
            raise ValueError("a moment without offset")
        return found
    if isinstance(value, str):
        value.encode()  # raises a ValueError on half a character, which JSON can spell
    if isinstance(value, list) or (isinstance(value, float) and value != value):  # noqa: PLR0124 - NaN
        raise ValueError("no key")
    return value
