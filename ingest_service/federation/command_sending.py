"""Sends commands to the platforms below, again and again until their results are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edge.wire.federation_commands import CONTENT_TYPE, encode_command
from edge.wire.topics import Topic, TopicKind
from ingest_service.storage.contract.federation_commands import wire_command
from ingest_service.storage.postgres.federation_commands import FederationCommands

if TYPE_CHECKING:
    from ingest_service.pipeline.mqtt_session import MqttSession
    from ingest_service.storage.contract.store import Database

# A town without a line gets nothing, for its forwarder keeps no session at the broker.
RESEND_S: Final = 30.0
RESEND_TO_FORWARDING_S: Final = 1.5  # to a device that has forwarded something since: its line is there
MAX_COMMANDS: Final = 1000


class CommandSending:
    """Sends what waits; its method raises the errors of the store."""

    def __init__(self, store: Database, session: MqttSession) -> None:
        self._commands, self._session = FederationCommands(store), session
        self._sent_s: dict[str, float] = {}
        self._forwarding: set[str] = set()

    def forwarded(self, device: str) -> None:
        """Note that a device forwards, so that its commands are sent again soon."""
        self._forwarding.add(device)

    def send_due(self, now_s: float) -> None:
        """Send each command that has no result and was not sent lately."""
        forwarding, self._forwarding = self._forwarding, set()
        waiting = self._commands.to_send(MAX_COMMANDS)
        ids = {one.command.command_id for one in waiting}
        self._sent_s = {name: sent_s for name, sent_s in self._sent_s.items() if name in ids}
        for command, device_area in waiting:
            resend_s = RESEND_TO_FORWARDING_S if command.device_id in forwarding else RESEND_S
            if now_s < self._sent_s.get(command.command_id, -RESEND_S) + resend_s:
                continue
            topic = Topic(device_area, str(command.device_id), TopicKind.COMMAND)
            if self._session.publish(topic, encode_command(wire_command(command)), CONTENT_TYPE):
                self._sent_s[command.command_id] = now_s
