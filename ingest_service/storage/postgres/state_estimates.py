"""Stores the estimated state of the networks in PostgreSQL, for the dashboards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from ingest_service.storage.contract.state_estimates import ForwardedEstimate
from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ingest_service.storage.contract.state_estimates import StoredEstimate
    from ingest_service.storage.contract.store import Database


class EstimateRow(NamedTuple):
    """An estimate as it is stored; times are Unix time [us], and a forwarded one is of a platform below."""

    quantity: str
    node_id: str
    site_id: str | None
    at_us: int
    source: Literal["measured", "estimated"]
    estimated: float
    deviation: float
    measured: float | None
    expected: float | None
    quality: int | None
    measured_us: int | None
    is_forwarded: bool


class StateEstimates:
    """Estimates in the database. Methods raise the errors of the store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def replace(self, quantity: str, at_s: float, estimates: Sequence[StoredEstimate]) -> None:
        """Store the estimates of a quantity at a time [Unix s] in place of its last ones.

        What a town has forwarded for a node within a day stays.
        """
        columns = {
            name: [getattr(one, name) for one in estimates]
            for name in ("source", "estimated", "deviation", "measured", "expected", "quality", "age_s")
        }
        parameters = {
            "quantity": quantity, "at_s": at_s, "node_ids": [one.node_id for one in estimates], **columns,
        }  # fmt: skip
        with self._database.transaction() as connection:
            connection.execute(QUERIES["delete_state_estimates"], parameters)
            connection.execute(QUERIES["upsert_state_estimates"], parameters)

    def to_forward(self, area_ids: Collection[str], site_ids: Collection[str]) -> list[EstimateRow]:
        """Return the newest estimates at nodes of some areas, except those at other sites than some.

        They are in the order of quantity and node, both by code points.
        """
        parameters = {"area_ids": list(area_ids), "site_ids": list(site_ids)}
        with self._database.transaction() as connection:
            rows = connection.execute(QUERIES["estimates_to_forward"], parameters)
            return [EstimateRow(*row) for row in rows]

    def forwarded(self, quantity: str) -> list[ForwardedEstimate]:
        """Return the estimates of a quantity that towns have forwarded within a day."""
        names = ForwardedEstimate.__struct_fields__
        with self._database.transaction() as connection:
            rows = connection.execute(QUERIES["forwarded_estimates"], (quantity,))
            return [ForwardedEstimate(**dict(zip(names, row, strict=True))) for row in rows]
