"""Reads a town's estimates of the state of its networks as messages for its county.

They are those of quantities of which the county lacks readings: it computes the others itself, from the
readings of all towns (decision 0109).
"""

from __future__ import annotations

import time
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog

from edge.wire import federation
from ingest_service.storage.contract.area_tree import areas_below
from ingest_service.storage.postgres.state_estimates import StateEstimates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.federation.policy import Policy
    from ingest_service.storage.contract.models import Directory
    from ingest_service.storage.contract.store import Database
    from ingest_service.storage.postgres.state_estimates import EstimateRow

log = structlog.get_logger()

LOOK_EVERY_S: Final = 30.0
RENEW_S: Final = 6 * 3600.0
"""Age at which estimates that did not change are sent again: the county drops those of a day ago [s]."""
OF_READING: Final[dict[str, Any]] = {"measured": None, "expected": None, "quality": None, "measured_us": None}
COLUMNS: Final = (
    "node_id", "at_us", "source", "estimated", "deviation", "measured", "expected", "quality", "measured_us",
)  # fmt: skip


class QuantityEstimates(NamedTuple):
    """Estimates of a quantity: the fields of each message, what they compare by, and their number."""

    quantity: str
    messages: list[dict[str, Any]]
    compared: list[tuple[Any, ...]]
    rows: int


class EstimateMessages:
    """Reads estimates. Methods raise the errors of the store.

    What was sent is known from this process alone: a new one sends all estimates again.
    """

    def __init__(self, store: Database, policy: Policy) -> None:
        self._estimates, self._policy = StateEstimates(store), policy
        self._sent: dict[str, tuple[list[tuple[Any, ...]], float]] = {}
        self._waiting: list[QuantityEstimates] = []
        self._due_s = 0.0

    def next_quantity(self, directory: Directory) -> QuantityEstimates | None:
        """Return a quantity whose estimates changed, complete; None without one."""
        if self._policy.estimates and not self._waiting and time.monotonic() >= self._due_s:
            self._due_s = time.monotonic() + LOOK_EVERY_S
            self._waiting = self._changed(directory)
        return self._waiting.pop() if self._waiting else None

    def confirmed(self, found: QuantityEstimates) -> None:
        """Note that the county has the estimates of a quantity."""
        self._sent[found.quantity] = (found.compared, time.monotonic())

    def give_up(self) -> None:
        """Send no more until the next start: the county's release does not understand estimates."""
        self._due_s, self._waiting = float("inf"), []
        log.warning("estimates_not_understood", remedy="update the county, then restart this process")

    def _changed(self, directory: Directory) -> list[QuantityEstimates]:
        rows = self._permitted(directory)
        by_quantity: dict[str, list[EstimateRow]] = {name: [] for name in self._sent}  # if they have none now
        by_quantity |= {name: list(some) for name, some in groupby(rows, lambda one: one.quantity)}
        found = [_quantity_estimates(name, some) for name, some in by_quantity.items()]
        return [one for one in found if self._is_due(one)]

    def _is_due(self, one: QuantityEstimates) -> bool:
        compared, sent_s = self._sent.get(one.quantity, ([], None))
        if compared != one.compared:
            return True
        return bool(compared) and sent_s is not None and time.monotonic() >= sent_s + RENEW_S

    def _permitted(self, directory: Directory) -> list[EstimateRow]:
        """Return the estimates that the policy permits and the county can't compute, as it may have them."""
        policy = self._policy
        forms = policy.forms(directory)
        form_of = {(one.site_id, one.quantity): forms[one.series_id] for one in policy.series(directory)}
        at_nodes = {one.site_id for one in directory.nodes if one.site_id}
        found = self._estimates.to_forward(
            areas_below(directory.areas, policy.area), [one.site_id for one in policy.sites(directory)]
        )
        # What a platform below estimated is of readings that are not here either.
        lacking = {one.quantity for one in found if one.is_forwarded}
        lacking |= {name for (site, name), form in form_of.items() if form != "all" and site in at_nodes}
        return [
            one if form_of.get((one.site_id or "", one.quantity)) == "all" else one._replace(**OF_READING)
            for one in found
            if one.quantity in lacking and one.quantity not in policy.leave_out_quantities
        ]


def _quantity_estimates(quantity: str, rows: Sequence[EstimateRow]) -> QuantityEstimates:
    """Return the estimates of a quantity by message; the first and the last one have no bound."""
    size = federation.MAX_ESTIMATES
    parts = [rows[first : first + size] for first in range(0, len(rows), size)] or [rows]
    bounds = ["", *(one[-1].node_id for one in parts[:-1]), None]
    messages = [
        {name: [getattr(row, name) for row in part] for name in COLUMNS} | {"after": after, "until": until}
        for part, (after, until) in zip(parts, pairwise(bounds), strict=True)
    ]
    compared: list[tuple[Any, ...]] = [one._replace(at_us=0) for one in rows]
    return QuantityEstimates(quantity, messages, compared, len(rows))
