"""Options of drivers that subscribe at a broker: its address, credentials, version and client id."""

from __future__ import annotations

import socket
import zlib
from pathlib import Path  # noqa: TC003 - read by msgspec
from typing import TYPE_CHECKING, Literal

import msgspec

from edge.drivers.mqtt_subscription import MqttSubscription
from edge.wire.broker_address import TlsFiles, parse_broker_address

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge.drivers.mqtt_subscription import RetainedWill


class BrokerOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of a broker in a site file.

    Attributes
    ----------
    broker : ``mqtt://[user@]host[:port]`` or ``mqtts://…``
    ca, certificate, key : files of the TLS connection; only with ``mqtts://``
    password_file : file with the password, so that the site file has none
    mqtt : version of the protocol
    client_id : of the subscription; by default of the host name, the broker and the topics, so that it is the
        same at each start

    """

    broker: str
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    password_file: Path | None = None
    mqtt: Literal["5", "3.1.1"] = "5"
    client_id: str | None = None

    def __post_init__(self) -> None:
        """Check what the types do not."""
        parse_broker_address(self.broker, TlsFiles(self.ca, self.certificate, self.key))

    def subscribe(
        self,
        topics: Sequence[str],
        *,
        durable: bool,
        on_fault: Callable[[str], None],
        will: Callable[[], RetainedWill] | None = None,
        on_session: Callable[[], None] = lambda: None,
    ) -> MqttSubscription:
        """Return the subscription; it connects when it is first read.

        Raises
        ------
        OSError
            If the password can't be read.

        """
        address = parse_broker_address(self.broker, TlsFiles(self.ca, self.certificate, self.key))
        if self.password_file is not None:
            password = self.password_file.read_text("utf-8").rstrip("\r\n")
            address = msgspec.structs.replace(address, password=password)
        key = "\n".join([socket.gethostname(), address.host, str(address.port), *topics])
        return MqttSubscription(
            address,
            client_id=self.client_id or f"towntwin-{zlib.crc32(key.encode()):08x}",
            topics=topics,
            durable=durable,
            version_5=self.mqtt == "5",
            will=will,
            on_fault=on_fault,
            on_session=on_session,
        )
