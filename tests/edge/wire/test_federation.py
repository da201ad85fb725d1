"""Tests that messages of a neighbouring version are understood, and others refused with the remedy."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edge.wire import federation
from edge.wire.errors import PayloadError

MESSAGE: dict[str, Any] = {
    "kind": "definitions",
    "version": federation.FORMAT_VERSION + 1,
    "forwarder": 1,
    "block": 1,
    "release": "9.0",
    "added_later": {"a": 1},
    "series": [{"site_id": "s1", "quantity": "ph", "interval_s": 300, "added_later": True}],
}


def test_what_a_newer_release_added_is_ignored() -> None:
    found = federation.decode_message(json.dumps(MESSAGE).encode())
    assert isinstance(found, federation.Definitions)
    assert [one.quantity for one in found.series] == ["ph"]
    assert federation.decode_message(federation.encode_message(found)) == found


@pytest.mark.parametrize(
    ("changed", "remedy"),
    [
        ({"version": federation.FORMAT_VERSION + 2}, "update this platform"),
        ({"version": federation.FORMAT_VERSION - 2}, "update the sender"),
        ({"kind": "twin_state"}, "update this platform"),
        ({"version": federation.FORMAT_VERSION, "block": None}, "no message of a platform"),
        ({"version": "1"}, "no message of a platform"),
    ],
)
def test_other_messages_are_refused_with_the_remedy(changed: dict[str, Any], remedy: str) -> None:
    with pytest.raises(PayloadError, match=remedy):
        federation.decode_message(json.dumps(MESSAGE | changed).encode())
