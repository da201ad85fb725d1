"""Messages of notification that are under way, and the threads that send them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from analytics.notification.http_client import HttpClient

if TYPE_CHECKING:
    from concurrent.futures import Future

    from analytics.notification.delivery_plan import PlannedDigest
    from analytics.notification.outcomes import SendOutcome
    from analytics.notification.sender import ResolvedChannel
    from analytics.service.settings import Settings
    from ingest_service.storage.contract.notifications import Delivery

THREADS = 8


@dataclass(slots=True)
class MessageUnderWay:
    """A message that a thread sends."""

    digest: PlannedDigest
    delivery: Delivery
    resolved: ResolvedChannel
    future: Future[SendOutcome]


@dataclass(slots=True)
class MessageState:
    """Messages under way by destination. The database holds everything that must survive a restart.

    Attributes
    ----------
    under_way : messages whose response was not recorded yet
    has_recovered : whether the messages of an earlier process were marked as unknown
    client : for all messengers
    pool : threads that send

    """

    under_way: dict[str, MessageUnderWay] = field(default_factory=dict)
    has_recovered: bool = False
    client: HttpClient | None = None
    pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(THREADS, thread_name_prefix="notify")
    )

    def client_of(self, settings: Settings) -> HttpClient:
        """Return the HTTP client of the settings, made once: it loads all certificate authorities."""
        if self.client is None:
            certificates = settings.notify_certificates
            self.client = HttpClient(
                settings.notify_networks,
                trusted_certificates=None if certificates is None else str(certificates),
            )
        return self.client
