"""How a service answered to a message."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Result = Literal["sent", "refused", "limited", "unknown"]


class SendOutcome(NamedTuple):
    """Result of an attempt to send.

    Attributes
    ----------
    result : ``sent``; ``refused`` (nobody received it); ``limited`` (too many messages; nobody received it);
        ``unknown`` (no response: somebody may have received it)
    detail : sentence for the log and the outbox, without secrets
    blocked_s : how long the service refuses everything from now on [s]
    is_permanent : a retry of this message would be refused again

    """

    result: Result
    detail: str = ""
    blocked_s: float = 0.0
    is_permanent: bool = False


SENT: Final = SendOutcome("sent")
