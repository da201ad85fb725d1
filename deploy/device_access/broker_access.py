"""What a broker has to know of an enrolled device, and the protocol of the adapters that pass it on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from deploy.errors import DeployError
from edge.wire.topics import Topic, TopicKind

if TYPE_CHECKING:
    from collections.abc import Sequence

PUBLISHED_KINDS = (TopicKind.DATA, TopicKind.STATUS, TopicKind.EVENT, TopicKind.FEDERATION)
RECEIVED_KINDS = (TopicKind.RECEIPT, TopicKind.COMMAND)


class BrokerAccessError(DeployError):
    """The broker did not take a change of its users or permissions; the message states the remedy."""


class DeviceAccess(NamedTuple):
    """A device that may publish under its own name; ``password`` is None if it has a client certificate."""

    area: str
    device: str
    password: str | None = None

    @property
    def published(self) -> list[str]:
        """The topics on which the device may publish."""
        return [str(Topic(self.area, self.device, kind)) for kind in PUBLISHED_KINDS]

    @property
    def received(self) -> list[str]:
        """The topics to which the device may subscribe."""
        return [str(Topic(self.area, self.device, kind)) for kind in RECEIVED_KINDS]


class BrokerAccess(Protocol):
    """Grants and revokes access of devices at a broker; both may be repeated."""

    def grant(self, devices: Sequence[DeviceAccess]) -> None:
        """Let devices connect, and publish on their own topics only. Raises `BrokerAccessError`."""
        ...

    def revoke(self, devices: Sequence[str]) -> None:
        """Withdraw the access of devices and end their connections. Raises `BrokerAccessError`."""
        ...

    def granted(self) -> set[str]:
        """Return the devices with access that was granted here. Raises `BrokerAccessError`."""
        ...

    def close(self) -> None:
        """End the connection to the broker."""
        ...
