"""A town that forwards to its county by function calls, without a line between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest_service.federation.block_reader import BlockReader
from ingest_service.federation.message_storing import MessageStoring
from ingest_service.federation.settings import Settings
from ingest_service.pipeline.message import Message
from ingest_service.storage.postgres.federation_feed import FederationFeed

if TYPE_CHECKING:
    from ingest_service.federation.policy import Policy
    from ingest_service.storage.postgres.store import PostgresStore


class FederatedPair:
    """A town and its county; a block has ``block_readings`` readings at most.

    Attributes
    ----------
    sent : messages of the town, in their order

    """

    def __init__(
        self, town: PostgresStore, county: PostgresStore, policy: Policy, *, block_readings: int = 7
    ) -> None:
        self.feed = FederationFeed(town)
        self.feed.start(policy.history_days)
        settings = Settings(block_readings=block_readings, backlog_readings_per_s=0)
        self._reader = BlockReader(town, self.feed, policy, settings, 1)
        self._storing = MessageStoring(county)
        self._topic = f"towntwin/v1/{policy.area}/{policy.device}/federation"
        self.sent: list[Message] = []

    def forward(self) -> None:
        """Forward until nothing waits that can be sent."""
        while (block := self._reader.next_block()) is not None:
            self.sent += [Message(self._topic, one.payload, 1e9) for one in block.entries]
            for message in self.sent[len(self.sent) - len(block.entries) :]:
                self._storing.store(message)
            self.feed.confirm(block.done, block.shortened, block.position, None, results=block.results)
            block.on_confirmed()

    def repeat(self) -> None:
        """Send everything again, as after a crash."""
        for message in self.sent:
            self._storing.store(message)

    def look_again(self) -> None:
        """Let the time pass after which states are compared again."""
        self._reader._states._devices_due_s = self._reader._states._months_due_s = 0.0
        self._reader._estimates._due_s = self._reader._forecasts._due_s = 0.0
