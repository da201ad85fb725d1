"""Tests that malformed or slow-to-parse uploads affect only the process that parses them."""

from __future__ import annotations

import io
import resource

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gateway.api.problems import ProblemError
from gateway.formats.upload_pool import UploadPool
from tests.support.parquet import parquet_of


def with_false_row_count(body: bytes) -> bytes:
    """Parquet whose footer has 100 for each of its sizes, as many bytes long as they were."""
    group = pq.ParquetFile(io.BytesIO(body)).metadata.row_group(0)
    sizes = {group.column(at).total_uncompressed_size for at in range(2)} | {group.total_byte_size}
    begin = len(body) - 8 - int.from_bytes(body[-8:-4], "little")
    footer = body[begin:]
    for size in sizes:
        if size > 1_000_000:
            footer = footer.replace(varint(2 * size), varint(2 * 100, len(varint(2 * size))))
    assert footer != body[begin:]
    return body[:begin] + footer


def varint(number: int, length: int = 0) -> bytes:
    """A number as thrift has it, at least so many bytes long."""
    out = bytearray()
    while number > 0x7F or len(out) + 1 < length:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def test_a_file_whose_footer_lies_about_its_size_breaks_its_own_parser_alone() -> None:
    pool, media = UploadPool(workers=1), "application/vnd.apache.parquet"
    words = pa.array(["2026-11-23T00:00:00Z".ljust(300_000_000)])
    body = with_false_row_count(parquet_of(words, pa.array([7.0])))
    assert len(body) < 1_000_000
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ProblemError, match="more memory"):
        pool.read(body, media)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 50_000
    del words
    honest = parquet_of(pa.array(np.arange(1000.0) + 1.79e9), pa.array(np.full(1000, 7.0)))
    assert len(pool.read(honest, media).time_s) == 1000, "the next one has a parser again"
    pool.close()
    assert len(pool.read(honest, media).time_s) == 1000, "a gateway that is started again reads on"
    pool.close()


def test_a_body_that_takes_too_long_to_parse_is_given_up() -> None:
    pool = UploadPool(workers=1, parse_s=0.001)
    with pytest.raises(ProblemError, match="longer than"):
        pool.read(b"time,value\n" + b"1790000000,7\n" * 400_000, "text/csv")
    pool.close()
