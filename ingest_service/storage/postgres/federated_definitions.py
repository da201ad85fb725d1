"""Stores at a county what a town defines: areas, sites, devices, series and networks within its own area."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from psycopg.types.json import Jsonb

from edge.wire.quantities import QUANTITIES
from ingest_service.storage.contract.area_tree import areas_above, circle_problem
from ingest_service.storage.contract.errors import StoreRefusedError
from ingest_service.storage.contract.federation import ForwardingCircleError, ItemRefusal
from ingest_service.storage.postgres.federated_items import store_each
from ingest_service.storage.postgres.named_queries import QUERIES
from ingest_service.storage.postgres.sqlstate import translated_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from psycopg import Connection

    from edge.wire.federation import Definitions, ForwardedArea
    from ingest_service.storage.contract.federation import ForwarderIdentity, RefusedItems

ITEM_IDS: Final = {"areas": "area_id", "sites": "site_id", "devices": "device_id", "nodes": "node_id"}
"""Lists of definitions whose items have an id of their own, with its name."""


class DefinitionStoring:
    """Stores the definitions of one message in its transaction.

    Parameters
    ----------
    refused : collects the items that are not the sender's to define, or that refer to such ones
    itemwise : whether what the database refuses is collected too; otherwise it is raised

    """

    def __init__(
        self,
        connection: Connection[Any],
        sender: ForwarderIdentity,
        found: Definitions,
        refused: RefusedItems,
        *,
        itemwise: bool,
    ) -> None:
        self._connection, self._sender, self._found = connection, sender, found
        self._refused, self._itemwise = refused, itemwise
        self._foreign: dict[tuple[str, str], str] = {}
        self._changed = 0

    def store(self) -> None:
        """Insert or update what can be. Raises `ForwardingCircleError` and the errors of the store."""
        found = self._found
        self._pass_platforms()
        self._connection.execute(QUERIES["lock_directory"])
        self._foreign = self._ids_of_others()
        self._define_areas()
        rows = self._connection.execute(QUERIES["federation_areas"], (self._sender.area,))
        areas = {area for (area,) in rows}
        self._define("sites", [self._problem_of("sites", one, areas) for one in found.sites])
        self._define("devices", [self._problem_of("devices", one, areas) for one in found.devices])
        rows = self._connection.execute(QUERIES["sites_of_origin"], (self._sender.device,))
        sites = {None, *(site for (site,) in rows)}
        no_site = f"is at a site that {self._sender.device!r} has not defined here: see its dead letter"
        self._define("series", ["" if one.site_id in sites else no_site for one in found.series])
        self._define(
            "nodes",
            [
                self._problem_of("nodes", one, areas) or ("" if one.site_id in sites else no_site)
                for one in found.nodes
            ],
        )
        no_node = "ends at a node that is not defined here: see the dead letter of the node"
        ends = [{one.from_node, one.to_node} for one in found.links]
        rows = self._connection.execute(QUERIES["nodes_present"], (list(set[str]().union(*ends)),))
        present = {node for (node,) in rows}
        self._define("links", ["" if one <= present else no_node for one in ends])
        if self._changed:
            self._connection.execute(QUERIES["directory_changed"])

    def _pass_platforms(self) -> None:
        """Note by which platforms this came, which are named further up; refuse it if this is one of them."""
        parameters = {"device": self._sender.device, "platforms": self._found.platforms}
        passed = self._connection.execute(QUERIES["is_passed_by_own_platform"], parameters).fetchone()
        if passed is not None:  # a row without columns
            raise ForwardingCircleError(
                f"what this platform forwards comes back from {self._sender.device!r}, so that the platforms"
                " forward in a circle: let one of them forward an area (its policy) without what it receives"
                " from the other, or end its forwarding (towntwin federate end), then restart it"
            )
        if self._sender.block is not None:
            self._changed += self._connection.execute(QUERIES["set_platforms"], parameters).rowcount

    def _ids_of_others(self) -> dict[tuple[str, str], str]:
        """Return a problem for each area, site and device that is here already and not the sender's."""
        parameters: dict[str, Any] = {"origin": self._sender.device}
        for field in ("areas", "sites", "devices"):
            parameters[field] = [getattr(one, ITEM_IDS[field]) for one in getattr(self._found, field)]
        rows = self._connection.execute(QUERIES["federation_foreign"], parameters)
        sentence = f"is here already, and not from {self._sender.device!r}: give it another id in the town"
        return dict.fromkeys(rows, sentence)

    def _problem_of(self, field: str, one: Any, areas: set[str]) -> str:
        return self._foreign.get((field, getattr(one, ITEM_IDS[field])), "") or (
            "" if one.area_id in areas else self._outside()
        )

    def _outside(self) -> str:
        return (
            f"is outside area {self._sender.area!r}, for which {self._sender.device!r} forwards: it may"
            " define nothing elsewhere"
        )

    def _define_areas(self) -> None:
        """Define the areas that are below that of the sender then, parents first."""
        own = [one for one in self._found.areas if ("areas", one.area_id) not in self._foreign]
        parents: dict[str, str | None] = dict(self._connection.execute(QUERIES["area_parents"]).fetchall())
        parents |= {one.area_id: one.parent for one in own}

        def problem_of(one: ForwardedArea) -> str:
            if ("areas", one.area_id) in self._foreign:
                return self._foreign["areas", one.area_id]
            is_below = self._sender.area in areas_above(parents, one.area_id)
            return "" if is_below else circle_problem(parents, one.area_id) or self._outside()

        self._define(
            "areas",
            [problem_of(one) for one in self._found.areas],
            order=lambda one: len(areas_above(parents, one.area_id)),
        )

    def _define(self, field: str, problems: Sequence[str], order: Callable[[Any], int] | None = None) -> None:
        """Define the items of a list that have no problem; the others are collected."""
        items: list[tuple[int, Any]] = list(enumerate(getattr(self._found, field)))
        for index, one in items:
            if problems[index]:
                detail = f"{_name_of(field, one)} {problems[index]}"
                self._refused.found.append(ItemRefusal(field, index, "federation", detail))
        good = [(index, one) for index, one in items if not problems[index]]
        if field == "series":
            good = [(index, one) for index, one in good if one.quantity in QUANTITIES]
        if order is not None:
            good.sort(key=lambda one: order(one[1]))
        if good:
            self._write(field, good)

    def _write(self, field: str, items: Sequence[tuple[int, Any]]) -> None:
        query = QUERIES[f"define_{field.removesuffix('s') if field != 'series' else field}"]
        try:
            with translated_errors(), self._connection.transaction(), self._connection.cursor() as cursor:
                cursor.executemany(query, [self._row(one) for _, one in items])
                self._changed += cursor.rowcount
        except StoreRefusedError:
            if not self._itemwise:
                raise

            def write(one: Any) -> None:
                self._changed += self._connection.execute(query, self._row(one)).rowcount

            store_each(self._connection, field, items, write, self._refused)

    def _row(self, one: msgspec.Struct) -> dict[str, Any]:
        row = msgspec.structs.asdict(one) | {"origin": self._sender.device}
        return row | {"coordinates": Jsonb(row["coordinates"])} if "coordinates" in row else row


def _name_of(field: str, one: Any) -> str:
    match field:
        case "series":
            return f"series {one.site_id}/{one.quantity}"
        case "links":
            return f"link {one.link_id!r}"
    return f"{field.removesuffix('s')} {getattr(one, ITEM_IDS[field])!r}"
