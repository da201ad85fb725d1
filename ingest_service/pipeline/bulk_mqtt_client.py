"""paho client that reads the socket in large pieces and parses many PUBLISH packets per read.

paho reads a packet by three or more calls of ``recv`` and one of ``select``, and creates a message with
properties for it. `BulkMqttClient` leaves everything else to paho (connect, subscribe, keep-alive,
reconnect, writing). PUBLISH packets that `parse_publish` can't parse, and all other packets, are handled by
paho, in their order.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.exception import MalformedPacket

from ingest_service.pipeline.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

READ_BYTES = 262_144  # of one ``recv``: some 2,000 messages of one reading
PUBLISH, PUBACK = 0x30, 0x40  # packet types (MQTT 5 section 2.1.2)
QOS_BITS, RETAIN_BIT = 0x06, 0x01  # of a PUBLISH (section 3.3.1)
MAX_LENGTH_BYTES = 4  # of a variable byte integer (section 1.5.5)
CONTENT_TYPE, USER_PROPERTY = 0x03, 0x26  # section 2.2.2.2
MAX_CACHED_TEXTS, MAX_CACHED_BYTES = 10_000, 256

TextCache = dict[bytes, str]
ContentTypeAndProperties = tuple[str | None, tuple[tuple[str, str], ...]]


class BulkMqttClient(Client):
    """paho client with manual acknowledgement that passes received messages on in lists.

    Parameters
    ----------
    on_messages : called on the network thread with the messages of one read, in their order; `on_message`
        gets those that `parse_publish` leaves to paho

    Attributes
    ----------
    connection : number of the connection, which every message gets

    """

    def __init__(
        self, on_messages: Callable[[list[Message]], None], *, client_id: str, protocol: MQTTProtocolVersion
    ) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=protocol, manual_ack=True)
        self.connection = 0
        self._on_messages = on_messages
        self._unparsed = bytearray()
        self._wanted_bytes = 0
        self._read_socket: object = None
        self._texts: TextCache = {}

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:  # noqa: ARG002 - paho's signature
        """Read once from the socket, and handle the packets that are complete."""
        if self._sock is None:
            return MQTTErrorCode.MQTT_ERR_NO_CONN
        if self._sock is not self._read_socket:  # what is left of a former connection is void
            self._read_socket = self._sock
            self._unparsed.clear()
            self._wanted_bytes = 0
        try:
            received = self._sock_recv(READ_BYTES)
        except BlockingIOError:
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        except OSError:
            return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)
        if not received:
            return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)
        self._note_reception()
        self._unparsed += received
        if len(self._unparsed) < self._wanted_bytes:  # a large packet is parsed once it is complete
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        code = self._handle_packets(bytes(self._unparsed))
        # Handling takes long where the receiver waits for room; the broker was not silent meanwhile.
        self._note_reception()
        return self._loop_rc_handle(code) if code > 0 else code

    def acknowledge(self, mids: Sequence[int]) -> None:
        """Send the PUBACKs (reason "success") of many messages in one write."""
        if mids:
            packets = b"".join([b"\x40\x02" + mid.to_bytes(2, "big") for mid in mids])
            self._packet_queue(PUBACK, packets, mids[-1], 1)

    def _note_reception(self) -> None:
        with self._msgtime_mutex:
            self._last_bytes_received = time.monotonic()

    def _handle_packets(self, data: bytes) -> MQTTErrorCode:
        """Handle the complete packets in ``data``, and keep the rest for the next read."""
        messages: list[Message] = []
        received_s = time.time()
        has_properties = self._protocol == MQTTProtocolVersion.MQTTv5
        position, end = 0, len(data)
        code = MQTTErrorCode.MQTT_ERR_SUCCESS
        self._wanted_bytes = 0
        while position < end:
            body, length = variable_integer(data, position + 1, end)
            packet_end = body + length
            if body < 0:
                code = MQTTErrorCode.MQTT_ERR_PROTOCOL
                break
            if not body or packet_end > end:
                self._wanted_bytes = packet_end - position if body else 0
                break
            command = data[position]
            position = packet_end
            if command & 0xF0 == PUBLISH:
                message = parse_publish(
                    data, body, packet_end, command, received_s, self.connection, self._texts, has_properties
                )
                if message is not None:
                    messages.append(message)
                    continue
            self._pass_on(messages)
            messages = []
            code = self._handle_by_paho(command, data[body:packet_end])
            if code > 0 or self._sock is not self._read_socket:
                break
        self._unparsed = bytearray(data[position:])
        self._pass_on(messages)
        return code

    def _pass_on(self, messages: list[Message]) -> None:
        if messages:
            with self._in_callback_mutex:
                self._on_messages(messages)

    def _handle_by_paho(self, command: int, body: bytes) -> MQTTErrorCode:
        """Handle one packet as paho does once it has read it."""
        self._in_packet = {
            "command": command,
            "have_remaining": 1,
            "remaining_count": [],
            "remaining_mult": 1,
            "remaining_length": len(body),
            "packet": bytearray(body),
            "to_process": 0,
            "pos": 0,
        }
        try:
            return self._packet_handle()
        except MalformedPacket:
            return MQTTErrorCode.MQTT_ERR_PROTOCOL


def parse_publish(  # noqa: PLR0917 - called for each message, where keywords would cost a tenth
    data: bytes,
    start: int,
    end: int,
    command: int,
    received_s: float,
    connection: int,
    texts: TextCache,
    has_properties: bool,  # noqa: FBT001
    /,
) -> Message | None:
    """Parse the variable header and the payload of a PUBLISH packet (MQTT 5 section 3.3).

    Parameters
    ----------
    start, end : of the variable header and the payload in ``data``
    command : first byte of the packet
    received_s, connection : as in `Message`
    texts : cache of decoded topics and property names
    has_properties : whether the session's protocol is MQTT 5

    Returns
    -------
    message
        None for a packet that is malformed, of QoS 2, without a topic, or with unusual properties.

    """
    qos = (command & QOS_BITS) >> 1
    topic_start = start + 2
    if qos > 1 or topic_start > end:
        return None
    topic_end = topic_start + (data[start] << 8 | data[start + 1])
    header_end = topic_end + 2 if qos else topic_end
    if header_end > end:
        return None
    encoded_topic = data[topic_start:topic_end]
    topic = texts.get(encoded_topic) or _decoded(encoded_topic, texts)
    if not topic:
        return None
    content_type: str | None = None
    properties: tuple[tuple[str, str], ...] = ()
    payload_start = header_end
    if has_properties:
        payload_start, length = variable_integer(data, header_end, end)
        if length:
            properties_start, payload_start = payload_start, payload_start + length
            parsed = (
                _parse_properties(data, properties_start, payload_start, texts)
                if payload_start <= end
                else None
            )
            if parsed is None:
                return None
            content_type, properties = parsed
        elif payload_start <= 0:
            return None
    mid = data[topic_end] << 8 | data[topic_end + 1] if qos else 0
    return Message(
        topic,
        data[payload_start:end],
        received_s,
        content_type,
        properties,
        mid,
        qos,
        connection,
        command & RETAIN_BIT == RETAIN_BIT,
    )


def _parse_properties(
    data: bytes, position: int, end: int, texts: TextCache
) -> ContentTypeAndProperties | None:
    """Return the content type and the user properties; None where there are others, or they are malformed."""
    content_type: str | None = None
    pairs: list[tuple[str, str]] = []
    while position < end:
        identifier = data[position]
        position += 1
        if identifier == USER_PROPERTY:
            position, name = _property_text(data, position, end, texts)
            position, value = _property_text(data, position, end, None)  # often a spool position: not cached
            if name is None or value is None:
                return None
            pairs.append((name, value))
        elif identifier == CONTENT_TYPE and content_type is None:
            position, content_type = _property_text(data, position, end, texts)
            if content_type is None:
                return None
        else:
            return None
    return content_type, tuple(pairs)


def _property_text(data: bytes, start: int, end: int, texts: TextCache | None) -> tuple[int, str | None]:
    """Return the end of a length-prefixed text and the text; None where it is malformed."""
    text_start = start + 2
    if text_start > end:
        return end, None
    text_end = text_start + (data[start] << 8 | data[start + 1])
    if text_end > end:
        return end, None
    encoded = data[text_start:text_end]
    text = None if texts is None else texts.get(encoded)
    if text is None:
        text = _decoded(encoded, texts)
    # NUL is malformed (section 1.5.4); paho refuses the byte order mark, too.
    return text_end, None if text is None or "\0" in text or "\ufeff" in text else text


def _decoded(encoded: bytes, texts: TextCache | None) -> str | None:
    """Decode a text and cache it; None where it is not UTF-8."""
    try:
        text = encoded.decode()
    except UnicodeDecodeError:
        return None
    if texts is not None and len(encoded) <= MAX_CACHED_BYTES:
        if len(texts) >= MAX_CACHED_TEXTS:
            texts.clear()
        texts[encoded] = text
    return text


def variable_integer(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Return the end of a variable byte integer (MQTT 5 section 1.5.5) and its value.

    The end is 0 where the integer is incomplete, and -1 where it is too long.

    >>> variable_integer(bytes([0x7F]), 0, 1), variable_integer(bytes([0x80, 0x01]), 0, 2)
    ((1, 127), (2, 128))
    >>> variable_integer(bytes([0x80]), 0, 1), variable_integer(bytes([0xFF] * 5), 0, 5)
    ((0, 0), (-1, 0))
    """
    if start < end and data[start] < 0x80:
        return start + 1, data[start]
    value = 0
    for position in range(start, min(start + MAX_LENGTH_BYTES, end)):
        value |= (data[position] & 0x7F) << 7 * (position - start)
        if data[position] < 0x80:
            return position + 1, value
    return (-1, 0) if end - start >= MAX_LENGTH_BYTES else (0, 0)
