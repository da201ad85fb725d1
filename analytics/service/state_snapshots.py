"""Periodic task that stores the estimated state of the networks, which dashboards show.

Each quantity that is measured on a network is estimated at all nodes (`analytics.service.estimated_state`)
once in ``state_every_s``. Past states are not stored: the API computes them from the readings.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from analytics.service.estimated_state import NETWORK_OF_DOMAIN, estimate_quantity
from analytics.service.service_state import ServiceState
from analytics.service.time_slice import UNLIMITED
from edge.wire.quantities import QUANTITIES
from ingest_service.storage.contract.state_estimates import StoredEstimate
from ingest_service.storage.postgres.state_estimates import StateEstimates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analytics.service.estimated_state import NodeEstimate
    from analytics.service.settings import Settings
    from analytics.service.time_slice import TimeSlice
    from ingest_service.storage.contract.models import Directory
    from ingest_service.storage.contract.store import Store


def store_states(
    store: Store,
    settings: Settings,
    time_slice: TimeSlice = UNLIMITED,
    service_state: ServiceState | None = None,
) -> None:
    """Store the states that are due. A store in memory has none."""
    if store.database is None or settings.state_every_s == 0:
        return
    service_state = service_state or ServiceState()
    pending, failing = service_state.pending_states, service_state.backoff("store_states")
    if not pending:
        if time.monotonic() < service_state.states_due_s:
            return
        service_state.states_due_s = time.monotonic() + settings.state_every_s
        pending += network_quantities(service_state.directory_of(store))
    while pending and not time_slice.is_over:
        quantity = pending.pop()
        if failing.is_deferred(quantity):
            continue
        with failing.isolate(quantity):
            at_s = time.time()
            directory = service_state.directory_of(store).valid_at(at_s)
            state = estimate_quantity(directory, store, quantity, at_s)
            StateEstimates(store.database).replace(quantity, at_s, stored_estimates(state.nodes))


def network_quantities(directory: Directory) -> list[str]:
    """Return the quantities that are measured at a node of their network."""
    network_of_site = {one.site_id: one.network for one in directory.nodes if one.site_id}
    return sorted(
        {
            one.quantity
            for one in directory.series
            if one.site_id in network_of_site
            and NETWORK_OF_DOMAIN.get(QUANTITIES[one.quantity].domain) == network_of_site[one.site_id]
        }
    )


def stored_estimates(nodes: Sequence[NodeEstimate]) -> list[StoredEstimate]:
    """Return the nodes that have an estimate, as they are stored."""
    return [
        StoredEstimate(
            node_id=one.node_id,
            source=one.source,
            estimated=one.estimated,
            deviation=one.deviation,
            measured=one.measured,
            expected=one.expected,
            quality=one.quality,
            age_s=one.age_s,
        )
        for one in nodes
        if one.source != "none" and one.estimated is not None and one.deviation is not None
    ]
