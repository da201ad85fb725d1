"""Messages of notification that are under way, and the threads that send them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Future

    from analytics.notification.delivery_plan import PlannedDigest
    from analytics.notification.outcomes import Outcome
    from analytics.notification.sender import ResolvedChannel
    from ingest_service.storage.contract.notifications import Delivery

THREADS = 8


@dataclass(slots=True)
class MessageUnderWay:
    """A message that a thread sends."""

    digest: PlannedDigest
    delivery: Delivery
    resolved: ResolvedChannel
    future: Future[Outcome]


@dataclass(slots=True)
class MessageState:
    """Messages under way by destination. The database holds everything that must survive a restart.

    Attributes
    ----------
    under_way : messages whose response was not recorded yet
    has_recovered : whether the messages of an earlier process were marked as unknown
    pool : threads that send

    """

    under_way: dict[str, MessageUnderWay] = field(default_factory=dict)
    has_recovered: bool = False
    pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(THREADS, thread_name_prefix="notify")
    )
