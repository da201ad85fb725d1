"""Puts what towns estimated into the current estimated state of the networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analytics.service.estimated_state import with_forwarded
from ingest_service.storage.postgres.state_estimates import StateEstimates

if TYPE_CHECKING:
    from analytics.service.estimated_state import EstimatedState
    from gateway.api.request_context import RequestContext
    from ingest_service.storage.contract.models import Directory


def with_estimates_of_towns(
    context: RequestContext, state: EstimatedState, directory: Directory
) -> EstimatedState:
    """Return a state of now with what the principal's towns estimated; a store in memory has none."""
    database = context.unscoped_store.for_area(context.principal.area_scope).database
    if database is None:
        return state
    return with_forwarded(state, directory.links, StateEstimates(database).forwarded(state.quantity))
