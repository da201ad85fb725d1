"""Maps MQTT 5 reason codes (MQTT 5 section 2.4) of a broker's refusal to a meaning and a required action.

Every refusal is retried with back-off: a permanent one may be fixed at any time, and until then the log
states what to fix. docs/failures.md shows this table.
"""

from __future__ import annotations

from typing import NamedTuple


class ReasonCodeMeaning(NamedTuple):
    """Meaning of a group of reason codes.

    Attributes
    ----------
    codes : MQTT 5 reason codes
    description : meaning of the codes
    temporary : whether it passes by itself; otherwise an operator has to act
    action : what the process does, or what the operator must do

    """

    codes: tuple[int, ...]
    description: str
    temporary: bool
    action: str


TAKEN_OVER = 0x8E
RETRYING = "trying again"
REASON_CODES = (
    ReasonCodeMeaning((0x88, 0x89, 0x8B), "unavailable, busy, shutting down", True, RETRYING),
    ReasonCodeMeaning((0x96, 0x97, 0x9F), "a rate or a quota is exceeded", True, RETRYING),
    ReasonCodeMeaning(
        (0x8D, 0x98, 0xA0),
        "the connection was ended: silent or open for too long, or by hand",
        True,
        RETRYING,
    ),
    ReasonCodeMeaning(
        (TAKEN_OVER,),
        "another client came with this client id",
        True,
        "taking it back: if this goes on, two platforms serve a shard of one name; rename one's --shard",
    ),
    ReasonCodeMeaning(
        (0x86, 0x87),
        "bad user name or password, not authorized",
        False,
        "the broker does not let this user in, or not to these topics: "
        "mend the user name and password in TOWNTWIN_BROKER, or the broker's access list",
    ),
    ReasonCodeMeaning((0x8A,), "banned", False, "the broker bans this client: lift the ban there"),
    ReasonCodeMeaning(
        (0x9C, 0x9D), "use another server, server moved", False, "name the new one in TOWNTWIN_BROKER"
    ),
    ReasonCodeMeaning(
        (0x84, 0x85, 0x8C, 0x8F, 0x90, 0x95, 0x9A, 0x9B, 0x9E, 0xA1, 0xA2),
        "it can't do what is needed: protocol, client id, topic, size, QoS, wildcards",
        False,
        "use a broker of MQTT 5 with wildcard subscriptions and QoS 1, or lift its limit",
    ),
    ReasonCodeMeaning(
        (0x81, 0x82, 0x93, 0x94, 0x99),
        "malformed packet, protocol error",
        False,
        "this is a defect of the broker or of towntwin: report it with both versions",
    ),
)
UNLISTED_CODE = ReasonCodeMeaning((), "any other", True, RETRYING)
_BY_CODE = {code: one for one in REASON_CODES for code in one.codes}


def meaning(code: int) -> ReasonCodeMeaning:
    """Return the meaning of a reason code.

    >>> meaning(0x87).temporary, meaning(0x80).temporary
    (False, True)
    """
    return _BY_CODE.get(code, UNLISTED_CODE)
