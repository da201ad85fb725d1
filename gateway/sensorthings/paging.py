"""Filters, counts, sorts and pages entity sets: Observations in SQL, all other types in Python."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.api.problems import ProblemError
from gateway.sensorthings import geometry
from gateway.sensorthings.entity_model import Entity, EntityModel, observation_entity
from gateway.sensorthings.entity_types import (
    DATASTREAM,
    FEATURE_OF_INTEREST,
    OBSERVATION,
    EntityType,
    linked_type,
)
from gateway.sensorthings.evaluation import Evaluator, links_to_many
from gateway.sensorthings.expression_tree import PropertyRef, QueryError, TimeInterval
from gateway.sensorthings.filter_lowering import FilterLowering, PickedSeries
from gateway.sensorthings.functions import value_type
from gateway.sensorthings.query_options import QueryOptions
from ingest_service.storage.contract.filter_terms import ObservationField, SortKey
from ingest_service.storage.postgres.observations import QueryRefusedError, QueryTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.sensorthings.evaluation import PickedEntities
    from gateway.sensorthings.expression_tree import ExpressionNode
    from gateway.sensorthings.resource_path import EntitySet
    from ingest_service.storage.postgres.observations import Observation

_JSON = json.JSONEncoder(separators=(",", ":"), check_circular=False)
MAX_SKIPPED = 100_000
MAX_PREFETCHED_ENTITIES = 5_000
MAX_PREFETCHED_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class EntityPage:
    """Entities of one page, the query options of the next page, and the total count if requested."""

    entities: list[Entity]
    next_options: dict[str, str]
    count: int | None = None


class Pager:
    """Reads pages of the entity sets of one request, and prefetches those of expansions."""

    def __init__(self, entity_model: EntityModel) -> None:
        self._entity_model = entity_model
        self._evaluator = Evaluator(entity_model)
        self._rows: dict[tuple[int, int], list[Observation]] = {}
        self._counts: dict[int, int] = {}

    def page(self, entity_set: EntitySet, query: QueryOptions, size: int) -> EntityPage:
        """Return the page of a query, with at most ``size`` entities. Raises `ProblemError`."""
        if (
            entity_set.kind is OBSERVATION
            and (prefetched := self._prefetched_page(entity_set.series_ids, query, size)) is not None
        ):
            return prefetched
        for node, _ in query.orderby:
            if links_to_many(node, entity_set.kind) and not _is_observation_time(node, entity_set.kind):
                detail = "to sort by, name a single value, or Observations/phenomenonTime for the newest one"
                raise QueryError(detail, node.at, option="$orderby")
        if entity_set.kind is OBSERVATION:
            with _attribute_errors_to_option(query):
                return self._observations(entity_set.series_ids, query, size)
        return self._entities(entity_set, query, size)

    def _entities(self, entity_set: EntitySet, query: QueryOptions, size: int) -> EntityPage:
        if query.token is not None:
            raise ProblemError(400, f"$skiptoken: {entity_set.kind.plural} have none", where="$skiptoken")
        result = entity_set.entities
        if query.filter is not None:
            result = self._filter_entities(entity_set.kind, result, query.filter)
        for node, descending in reversed(query.orderby):
            key = partial(self._sort_key, node)
            if _is_observation_time(node, entity_set.kind):
                key = partial(self._extreme_time, node, newest=descending)
            result = sorted(result, key=key, reverse=descending)
        page_entities = result[query.skip : query.skip + size]
        has_more = len(result) > query.skip + len(page_entities) and query.top != 0
        next_options = {"$skip": str(query.skip + len(page_entities))} if has_more else {}
        if entity_set.kind is DATASTREAM:
            self._entity_model.load_extents(int(one.id) for one in page_entities)
        return EntityPage(page_entities, next_options, len(result) if query.count else None)

    def _extreme_time(self, node: ExpressionNode, entity: Entity, *, newest: bool) -> tuple[Any, ...]:
        """Return the newest or oldest time of an entity's Observations as a sort key; (0,) without any."""
        extents = [self._entity_model.extent(one) for one in self._entity_model.series_ids_of(entity)]
        is_measured_time = isinstance(node, PropertyRef) and node.name == "phenomenonTime"
        if newest:
            times = [one.last if is_measured_time else one.last_received for one in extents if one]
        else:
            times = [one.first if is_measured_time else one.first_received for one in extents if one]
        return (1, max(times) if newest else min(times)) if times else (0,)

    def _sort_key(self, node: ExpressionNode, entity: Entity) -> tuple[Any, ...]:
        value: Any = geometry.sort_value(self._evaluator.value(node, {(): entity}))
        if value is None:
            return (0,)
        if isinstance(value, TimeInterval):
            return (1, "", value.start, value.end)
        return (1, value_type(value).name, value)

    # -- filters of other types that refer to Observations --------------------------------------

    def _filter_entities(
        self, kind: EntityType, entities: list[Entity], node: ExpressionNode
    ) -> list[Entity]:
        many_links = links_to_many(node, kind)
        observation_paths = [one for one in many_links if _type_at_path_end(kind, one) is OBSERVATION]
        if not observation_paths:
            return [one for one in entities if self._evaluator.matches(node, one, many_links)]
        observation_path = observation_paths[0]
        if len(observation_paths) > 1 or any(
            one[: len(observation_path)] == observation_path and one != observation_path for one in many_links
        ):
            raise QueryError("this goes on from Observations to a set: ask the other way round", node.at)
        other_links = [one for one in many_links if one != observation_path]
        picked_series: list[PickedSeries] = []
        matching_numbers: set[int] = set()
        for entity_number, entity in enumerate(entities):
            for picks in self._evaluator.picks(entity, other_links, node.at):
                result = [
                    PickedSeries(
                        series_id,
                        picks | _picks_of_series(self._entity_model, series_id, observation_path),
                        entity_number,
                    )
                    for series_id in self._series_with_observations(picks, observation_path)
                ]
                picked_series += result
                if not result and self._evaluator.value(node, {**picks, observation_path: None}) is True:
                    matching_numbers.add(entity_number)
        lowering = FilterLowering(self._evaluator, picked_series, observation_path)
        where = lowering.condition(node)
        with _attribute_errors_to_option(QueryOptions(texts={"$filter": ""})):
            matching_series = self._entity_model.observations.series_matching(lowering.scope(), where)
        matching_numbers |= {lowering.picked_series[one].entity_number for one in matching_series}
        return [one for entity_number, one in enumerate(entities) if entity_number in matching_numbers]

    def _series_with_observations(
        self, picks: PickedEntities, observation_path: tuple[str, ...]
    ) -> list[int]:
        """Return the series at the end of a path that have any Observation."""
        parent = self._evaluator.follow_links(observation_path[:-1], picks)
        series_ids = [] if parent is None else self._entity_model.series_ids_of(parent)
        return [one for one in series_ids if self._entity_model.extent(one) is not None]

    # -- observations --------------------------------------------------------------------------

    def _observations(self, series_ids: Sequence[int], query: QueryOptions, size: int) -> EntityPage:
        if query.skip > MAX_SKIPPED:
            detail = f"$skip: more than {MAX_SKIPPED:,}: follow @iot.nextLink, or filter by phenomenonTime"
            raise ProblemError(400, detail, where="$skip")
        lowering = FilterLowering(self._evaluator, self._picked_series(series_ids, query.filter))
        where = None if query.filter is None else lowering.any_picks_condition(query.filter)
        sort_keys = [SortKey(lowering.key(node), descending) for node, descending in query.orderby]
        scope = lowering.scope()
        after = None if query.token is None else decode_keys(query.token, len(sort_keys) + 2)
        row_limit = size + 1 if size else 0
        rows = self._entity_model.observations.page(
            scope, where, sort_keys, after=after, limit=row_limit, skip=0 if after else query.skip
        )
        page = rows[:size]
        next_options = {"$skiptoken": encode_keys(page[-1].keys)} if len(rows) > len(page) else {}
        count = self._entity_model.observations.count(scope, where) if query.count else None
        return EntityPage([observation_entity(one) for one in page], next_options, count)

    def prefetch(
        self, entities: Sequence[Entity], query: QueryOptions, size: Callable[[QueryOptions], int]
    ) -> None:
        """Read the expanded Observations of many Datastreams in one query, before they are rendered.

        Parameters
        ----------
        entities : of one type
        query : options that the entities are rendered by
        size : returns how many entities of a set a query renders

        """
        for link, inner in query.expand.items():
            if not entities or len(entities) > MAX_PREFETCHED_ENTITIES:
                return
            if linked_type(entities[0].kind, link) is not OBSERVATION:
                linked_entities = {
                    one: None for each in entities for one in self._entity_model.follow(each, link)
                }
                if linked_type(entities[0].kind, link) is DATASTREAM:
                    self._entity_model.load_extents(int(one.id) for one in linked_entities)
                self.prefetch(list(linked_entities), inner, size)
            elif entities[0].kind is DATASTREAM and _is_prefetchable(inner):
                self._prefetch_observations([int(one.id) for one in entities], inner, size(inner))

    def _prefetch_observations(self, series_ids: list[int], query: QueryOptions, size: int) -> None:
        if query.count and (uncounted := [one for one in series_ids if one not in self._counts]):
            self._counts |= self._entity_model.observations.counts(uncounted)
        # a nested expansion was prefetched with the outer one
        series_ids = [one for one in series_ids if (id(query), one) not in self._rows]
        if not 0 < size * len(series_ids) <= MAX_PREFETCHED_ROWS:
            return
        orders = _time_sort_keys(query)
        if size == 1 and [*map(_time_descending, query.orderby)] == [True]:
            self._entity_model.load_extents(series_ids)
            newest = self._entity_model.observations.newest(series_ids)
            extents = {one: self._entity_model.extent(one) for one in series_ids}
            # the second row stands for all others: only its existence matters, for the nextLink
            result = {
                one: [newest[one]] * (1 if extent.first == extent.last else 2)
                for one, extent in extents.items()
                if extent is not None and one in newest
            }
        else:
            result = self._entity_model.observations.first_of_each(series_ids, orders, limit=size + 1)
        self._rows |= {(id(query), one): result.get(one, []) for one in series_ids}

    def _prefetched_page(
        self, series_ids: Sequence[int], query: QueryOptions, size: int
    ) -> EntityPage | None:
        """Return the page of a single Datastream from the prefetched rows; None if it was not prefetched."""
        if len(series_ids) != 1 or not _is_prefetchable(query):
            return None
        (series_id,) = series_ids
        rows = self._rows.get((id(query), series_id)) if size else []
        if rows is None or (query.count and series_id not in self._counts):
            return None
        page_entities = rows[:size]
        next_options = (
            {"$skiptoken": encode_keys(page_entities[-1].keys)} if len(rows) > len(page_entities) else {}
        )
        return EntityPage(
            [observation_entity(one) for one in page_entities],
            next_options,
            self._counts[series_id] if query.count else None,
        )

    def _picked_series(self, series_ids: Sequence[int], node: ExpressionNode | None) -> list[PickedSeries]:
        """Return each series with every choice of entities at the to-many links of a filter."""
        many_links = links_to_many(node, OBSERVATION) if node else []
        at = node.at if node else 0
        if any(_type_at_path_end(OBSERVATION, one) is OBSERVATION for one in many_links):
            raise QueryError("this comes back to Observations: ask the other way round", at)
        return [
            PickedSeries(series_id, picks)
            for series_id in series_ids
            for picks in self._evaluator.extend_picks(
                _picks_of_series(self._entity_model, series_id, ()), many_links, at
            )
        ]


def _is_observation_time(node: ExpressionNode, kind: EntityType) -> bool:
    """Whether a sort key is a time of the Observations of an entity."""
    if not isinstance(node, PropertyRef) or node.name not in {"phenomenonTime", "resultTime"}:
        return False
    observation_paths = (("Observations",), ("Datastreams", "Observations"))
    return kind is not OBSERVATION and node.links in observation_paths


def _is_prefetchable(query: QueryOptions) -> bool:
    """Whether a query has no filter, starts at the first row, and sorts by measured time only."""
    sorts_by_time = all(_time_descending(one) is not None for one in query.orderby)
    return query.filter is None and query.token is None and not query.skip and sorts_by_time


def _time_descending(key: tuple[ExpressionNode, bool]) -> bool | None:
    """Whether a sort key is the measured time, newest first; None if it is another key."""
    node, descending = key
    is_time = isinstance(node, PropertyRef) and (node.links, node.name, node.json_path) == (
        (),
        "phenomenonTime",
        (),
    )
    return descending if is_time else None


def _time_sort_keys(query: QueryOptions) -> list[SortKey]:
    return [SortKey(ObservationField("time"), descending) for _, descending in query.orderby]


@contextmanager
def _attribute_errors_to_option(query: QueryOptions) -> Iterator[None]:
    """Convert a failed statement to a problem that names the first option that may have caused it."""
    sent_options: list[str] = [name for name in ("$filter", "$orderby") if name in query.texts]
    sent_options += ["$skip"] if query.skip else []
    sent_options += ["$count"] if query.count else []
    name = sent_options[0] if sent_options else None
    prefix = f"{name}: " if name else ""
    try:
        yield
    except QueryRefusedError as error:
        raise ProblemError(400, f"{prefix}{error}", where=name) from error
    except QueryTimeoutError as error:
        raise ProblemError(504, f"{prefix}{error}", where=name) from error


def _type_at_path_end(kind: EntityType, links: tuple[str, ...]) -> EntityType:
    for link in links:
        kind = linked_type(kind, link)
    return kind


def _picks_of_series(
    entity_model: EntityModel, series_id: int, observation_path: tuple[str, ...]
) -> PickedEntities:
    """Return the entities that all Observations of a series link to, as picks."""
    site_id = entity_model.directory_index.series[series_id].site_id
    picks: PickedEntities = {} if observation_path else {(): Entity(OBSERVATION, "")}
    return picks | {
        (*observation_path, "Datastream"): Entity(DATASTREAM, series_id),
        (*observation_path, "FeatureOfInterest"): Entity(FEATURE_OF_INTEREST, site_id),
    }


def encode_keys(keys: Sequence[Any]) -> str:
    """Encode the sort keys of a row as an opaque token; times keep their microseconds."""
    text = _JSON.encode([_tag_value(one) for one in keys])
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _tag_value(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return {"at": value.astimezone(dt.UTC).isoformat()}
    if isinstance(value, dt.date | dt.time):
        return {"day" if isinstance(value, dt.date) else "clock": value.isoformat()}
    return value


def decode_keys(token: str, n: int) -> list[Any]:
    """Decode the sort keys of a token. Raises `ProblemError` if it was not made by `encode_keys`.

    >>> decode_keys(encode_keys([1.5, None, 7, dt.datetime(2026, 1, 1, tzinfo=dt.UTC)]), 4)[:3]
    [1.5, None, 7]
    """
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        keys = [_untag_value(one) for one in json.loads(text)]
    except (binascii.Error, ValueError, TypeError, RecursionError) as error:
        raise _invalid_skip_token() from error
    if len(keys) != n or type(keys[-2]) is not int or not isinstance(keys[-1], dt.datetime):
        raise _invalid_skip_token()
    return keys


def _invalid_skip_token() -> ProblemError:
    detail = "$skiptoken: take the whole @iot.nextLink of the page before, unchanged"
    return ProblemError(400, detail, where="$skiptoken")


def _untag_value(value: Any) -> Any:
    if isinstance(value, dict):
        ((tag, text),) = value.items()
        readers: dict[str, Any] = {"at": dt.datetime, "day": dt.date}
        result = readers.get(tag, dt.time).fromisoformat(text)
        if isinstance(result, dt.datetime) and result.tzinfo is None:
            raise ValueError("a moment without offset")
        return result
    if isinstance(value, str):
        value.encode()  # raises ValueError on a lone surrogate, which JSON can contain
    if isinstance(value, list) or (isinstance(value, float) and value != value):  # noqa: PLR0124 - NaN
        raise ValueError("no key")
    return value
