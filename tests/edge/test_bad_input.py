"""Tests that every decoder of the edge returns data or raises an error of the edge, whatever the bytes."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.wire.errors import EdgeError
from tests.support.edge_decoders import EDGE_DECODERS


@pytest.mark.parametrize("name", EDGE_DECODERS)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(content=st.data())
def test_bytes_are_data_or_an_error_of_the_edge(name: str, content: st.DataObject) -> None:
    decoder = EDGE_DECODERS[name]
    payload = content.draw(decoder.payloads | st.binary(max_size=60))
    with suppress(EdgeError):
        decoder.decode(payload)


def test_a_right_answer_of_each_protocol_is_data() -> None:
    """The strategies are of use only if the decoders are reached at all."""
    good = {
        "senml-json": b'[{"n":"ph","v":7.1}]',
        "senml-cbor": bytes.fromhex("81a2006270680207"),
        "status": b'{"online":true}',
        "receipt": b'{"epoch":"a","kept":[[1,2]]}',
        "chirpstack": b'{"time":"2026-11-18T09:46:40+00:00","object":{"pH":7.1}}',
        "json": b'{"ts":1795000000500,"probes":[{"pH":7.1}]}',
        "influx": b"river pH=7.1",
        "modbus": bytes.fromhex("00010000000b010308") + bytes(8),
        "exec": b"ph=7.1",
    }
    for name, payload in good.items():
        assert EDGE_DECODERS[name].decode(payload), name
