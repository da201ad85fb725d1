"""Fuzz targets for atheris: ingest (``ingest``), the HJ 212 server (``hj212``), or one decoder of the edge.

The first argument is the name of the target, the others are those of atheris.
"""

from __future__ import annotations

import sys
from contextlib import suppress

import atheris

with atheris.instrument_imports(
    include=["edge", "ingest_service.pipeline", "gateway.hj212", "pymodbus.framer", "pymodbus.pdu"]
):
    from edge.wire import receipts, senml, senml_columns, status, topics
    from edge.wire.errors import EdgeError, PayloadError, TopicError
    from ingest_service.pipeline.decode import decode
    from ingest_service.pipeline.device_clocks import DeviceClocks
    from ingest_service.pipeline.message import Message
    from ingest_service.pipeline.series_resolver import SeriesResolver
    from ingest_service.pipeline.shard_judge import ShardJudge
    from tests.support import malformed_messages
    from tests.support.edge_decoders import EDGE_DECODERS
    from tests.support.hj212_inputs import receive_hj212

RESOLVER, CLOCKS = SeriesResolver(malformed_messages.DIRECTORY), DeviceClocks(tolerance_s=300)
JUDGE = ShardJudge(malformed_messages.DIRECTORY)


def ingest_input(data: bytes) -> None:
    """Run one input of ingest: the first byte selects topic and retain flag, the rest is the payload."""
    kind, payload = (data[0] if data else 0), data[1:]
    for content_type in (senml.CONTENT_TYPE_JSON, senml.CONTENT_TYPE_CBOR, None):
        with suppress(PayloadError):
            senml.decode_each(payload, content_type=content_type, now_s=malformed_messages.NOW_S)
        senml_columns.decode(payload, content_type=content_type)
    for read in (status.decode_status, receipts.decode_receipt):
        with suppress(PayloadError):
            read(payload)
    text = payload[:200].decode("utf-8", "replace")
    with suppress(TopicError):
        topics.parse_topic(text)
    receipts.position_of([("epoch", text), ("number", text[::-1])])
    topic = malformed_messages.STATUS if kind & 1 else malformed_messages.DATA
    message = Message(topic, payload, malformed_messages.NOW_S, retained=bool(kind & 2))
    judged = JUDGE.judge(decode([message], RESOLVER, CLOCKS, future_s=300))
    if judged.failed:
        raise RuntimeError("the judge failed")


def edge_input(data: bytes) -> None:
    """Run one input of a decoder of the edge."""
    with suppress(EdgeError):
        EDGE_DECODERS[TARGET].decode(data)


def hj212_input(data: bytes) -> None:
    """Run one input of the HJ 212 server."""
    receive_hj212(data)


TARGET = sys.argv.pop(1)
atheris.Setup(sys.argv, {"ingest": ingest_input, "hj212": hj212_input}.get(TARGET, edge_input))
atheris.Fuzz()
