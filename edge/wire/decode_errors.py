"""Error texts of undecodable SenML packs: what is wrong, where, and what to do.

They replace the messages of the JSON and CBOR libraries, which name neither the place nor the remedy.
"""

from __future__ import annotations

import re

EXAMPLE = '[{"n":"ph","v":7.5}]'
CONTEXT_BYTES = 12  # bytes shown on either side of a mistake
_BYTE = re.compile(r"\(byte (\d+)\)")
_TYPE = re.compile(
    r"Expected `(?P<expected>[^`]*)`, got `(?P<got>[^`]*)`(?: - at `\$(?:\[\d+\])?(?P<path>[^`]*)`)?"
)
_PATH = re.compile(r"at `\$(?:\[\d+\])?\.([^`]*)`")
_DECIMAL_COMMA = re.compile(rb"\d,\d")
EXPECTED_KINDS = {
    "float": "a number",
    "int": "a whole number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}
FOUND_KINDS = EXPECTED_KINDS | {"int": "a number", "null": "null", "bytes": "bytes"}


def json_error(payload: bytes, error: Exception) -> str:
    """Return why a payload is not a JSON array of records.

    >>> json_error(b'{"n":"ph"}', ValueError("Expected `array`, got `object`"))
    'the message is an object: send a SenML JSON array of records (RFC 8428), as [{"n":"ph","v":7.5}]'
    >>> json_error(b"", ValueError("Input data was truncated"))
    'the message is empty: send a SenML JSON array of records (RFC 8428), as [{"n":"ph","v":7.5}]'
    """
    remedy = f"send a SenML JSON array of records (RFC 8428), as {EXAMPLE}"
    message = str(error)
    if not payload.strip():
        return f"the message is empty: {remedy}"
    if "truncated" in message:
        return f"the SenML JSON array ends too early, after {len(payload)} bytes: send all of it"
    if found := _TYPE.search(message):
        return f"the message is {FOUND_KINDS.get(found['got'], found['got'])}: {remedy}"
    at = _BYTE.search(message)
    if at is None:
        return f"the message can't be read as JSON ({message}): {remedy}"
    offset = int(at[1])
    near = payload[max(0, offset - CONTEXT_BYTES) : offset + CONTEXT_BYTES]
    shown = near.decode("utf-8", "replace")
    if _DECIMAL_COMMA.search(near):
        remedy = "write numbers with a point in place of the comma"
    elif b"'" in near:
        remedy = "use double quotation marks"
    return f"the message is not JSON, at byte {offset}, near {shown!r}: {remedy}"


def cbor_error(payload: bytes, error: Exception) -> str:
    """Return why a payload is not a CBOR array of records.

    >>> cbor_error(b"x", ValueError("premature end of stream"))
    'the CBOR ends too early, after 1 bytes: send the pack whole, or as JSON where the device writes JSON'
    """
    if not payload:
        return "the message is empty: send a SenML CBOR array of records (RFC 8428)"
    if "premature end" in str(error):
        return (
            f"the CBOR ends too early, after {len(payload)} bytes: send the pack whole,"
            " or as JSON where the device writes JSON"
        )
    return (
        f"the message is not CBOR (it begins with {payload[:8].hex(' ')}):"
        " send a SenML CBOR array of records (RFC 8428), or JSON"
    )


def record_error(index: int, channel: object, error: Exception) -> str:
    """Return why one record of a pack was refused.

    >>> record_error(0, "ph", ValueError("Expected `float | null`, got `object` - at `$[0].v`"))
    "record 0 (channel 'ph'): 'v' is an object: send a number"
    """
    where = f" (channel {channel[:64]!r})" if isinstance(channel, str) else ""
    found = _TYPE.search(str(error))
    if "out of range" in str(error):
        path = _PATH.search(str(error))
        field = repr(path[1]) if path else "a number"
        return f"record {index}{where}: {field} is out of range: send a double"
    if isinstance(error, UnicodeDecodeError):
        return f"record {index} holds bytes that are not UTF-8: send a SenML JSON array in UTF-8"
    if found is None:
        return f"record {index}{where} can't be read ({error}): send an object, as {EXAMPLE[1:-1]}"
    got = FOUND_KINDS.get(found["got"], found["got"])
    expected = EXPECTED_KINDS.get(found["expected"].partition(" ")[0], found["expected"])
    label = (found["path"] or "").lstrip(".")
    if not label:
        return f"record {index}{where} is {got}: send an object, as {EXAMPLE[1:-1]}"
    return f"record {index}{where}: {label!r} is {got}: send {expected}"
