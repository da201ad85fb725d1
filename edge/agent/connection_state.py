"""State machine of a device's broker connection: when to connect, time out and retry; performs no I/O."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from edge.wire.backoff import Backoff

CONNACK_TIMEOUT_S = 10.0  # a broker sends CONNACK within this, even over a slow 4G link
FIRST_RECONNECT_S, LONGEST_RECONNECT_S = 0.5, 30.0  # so that the devices of a town do not overload a broker
STABLE_AFTER_S = 10.0  # a connection that lasts this long was stable
TAKEOVER_STABLE_AFTER_S = 120.0
"""Longer than the longest wait, after which a second client of the id takes over again."""

UNSUPPORTED_VERSION = 0x84
CLIENT_ID = 0x85
BAD_CREDENTIALS = (0x86, 0x87)
BANNED = 0x8A
TAKEN_OVER = 0x8E
TOO_LARGE = 0x95

MQTT_5_PORT = (
    "an agent needs MQTT 5: name the broker's MQTT 5 port (the embedded broker has one for MQTT 5 and another"
    " for 3.1.1; a port for TLS or HTTP is none either)"
)
_ADVICE = {
    UNSUPPORTED_VERSION: MQTT_5_PORT,
    CLIENT_ID: "the broker takes no such client id: give the device another id, or mend the broker's rules",
    **dict.fromkeys(
        BAD_CREDENTIALS, "mend the user name and password in TOWNTWIN_BROKER, or the access list"
    ),
    BANNED: "the broker bans this device: lift the ban there",
    TAKEN_OVER: (
        "another client uses the client id of this device: stop one of the two, or enrol them as two devices"
    ),
    TOO_LARGE: "the broker takes no message of this size: raise its packet limit",
}


class ConnectionEnd(Enum):
    """How a connection, or an attempt to connect, ended."""

    UNREACHABLE = "can't be reached"
    UNUSABLE_FILES = "can't be reached for want of usable files"
    REFUSED = "refused the connection"
    UNANSWERED = "closed the connection instead of answering CONNECT"
    SILENT = "does not answer CONNECT"
    DISCONNECTED = "ended the connection"
    LOST = "closed the connection"
    BROKEN = "sent what is no MQTT"


class ReconnectDecision(NamedTuple):
    """Decision after the end of a connection: time to wait [s], and a sentence for the log."""

    wait_s: float
    sentence: str


class ConnectionState:
    """State of one device's connection to the broker; the caller reports events with their times.

    Every end of a connection, for whatever reason (refused, closed at once, taken over by another client), is
    followed by a wait that doubles, with jitter. The back-off restarts only after a stable connection: one
    with a receipt, or one that lasted `STABLE_AFTER_S`. One that was taken over counts as stable only after
    `TAKEOVER_STABLE_AFTER_S`, for the other client will reconnect too.
    """

    def __init__(self, backoff: Backoff | None = None) -> None:
        self._backoff = backoff or Backoff(FIRST_RECONNECT_S, LONGEST_RECONNECT_S)
        self._try_at_s = 0.0
        self._opened_s = 0.0
        self._accepted_s: float | None = None
        self._receipt_came = False

    @property
    def is_accepted(self) -> bool:
        """Whether the broker accepted the connection."""
        return self._accepted_s is not None

    def wait_s(self, now_s: float) -> float:
        """Return the time until the next attempt to connect [s]; 0 means now."""
        return max(0.0, self._try_at_s - now_s)

    def opened(self, now_s: float) -> None:
        """Record that CONNECT was sent."""
        self._opened_s = now_s
        self._accepted_s = None
        self._receipt_came = False

    def accepted(self, now_s: float) -> None:
        """Record that the broker accepted the connection."""
        self._accepted_s = now_s

    def receipt_arrived(self) -> None:
        """Record that a receipt released a message: the whole path to the platform works."""
        self._receipt_came = True

    def overdue(self, now_s: float) -> bool:
        """Whether CONNACK is overdue."""
        return not self.is_accepted and now_s - self._opened_s > CONNACK_TIMEOUT_S

    def ended(
        self, end: ConnectionEnd, now_s: float, jitter: float, *, code: int | None = None, detail: str = ""
    ) -> ReconnectDecision:
        """Record the end of a connection and decide how long to wait.

        Parameters
        ----------
        end : how it ended; LOST or BROKEN before the broker accepted the connection counts as UNANSWERED
        jitter : random number in [0, 1), for the jitter
        code : MQTT 5 reason code of a CONNACK or DISCONNECT, if there was one
        detail : further text for the sentence

        """
        if end in (ConnectionEnd.LOST, ConnectionEnd.BROKEN) and not self.is_accepted:
            end = ConnectionEnd.UNANSWERED
        if self._was_stable(now_s, code):
            self._backoff.reset()
        self._accepted_s = None
        wait_s = self._backoff.next_s(jitter)
        self._try_at_s = now_s + wait_s
        return ReconnectDecision(wait_s, _end_sentence(end, code, detail))

    def _was_stable(self, now_s: float, code: int | None) -> bool:
        if self._accepted_s is None:
            return False
        lasted_s = now_s - self._accepted_s
        if code == TAKEN_OVER:
            return lasted_s >= TAKEOVER_STABLE_AFTER_S
        return self._receipt_came or lasted_s >= STABLE_AFTER_S


def _end_sentence(end: ConnectionEnd, code: int | None, detail: str) -> str:
    """Describe what happened and the remedy.

    >>> _end_sentence(ConnectionEnd.UNREACHABLE, None, "Connection refused")
    "can't be reached (Connection refused)"
    """
    advice = (
        MQTT_5_PORT if end in (ConnectionEnd.UNANSWERED, ConnectionEnd.SILENT) else _ADVICE.get(code or 0, "")
    )
    return f"{end.value}{f' ({detail})' if detail else ''}{f': {advice}' if advice else ''}"
