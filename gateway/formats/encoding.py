"""Encodes tables as JSON, NDJSON, CSV, Arrow or Parquet, block by block in constant memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.formats.arrow_tables import ArrowTable
    from gateway.formats.negotiation import FormatName

T = TypeVar("T")
JSON_ENCODER = msgspec.json.Encoder()


def encode_blocks(format_name: FormatName, table: ArrowTable[T], blocks: Iterable[T]) -> Iterator[bytes]:
    """Yield the encoded blocks of a table in a format, with one block in memory at a time."""
    if format_name == "json":
        return _json_blocks(table, blocks)
    if format_name == "ndjson":
        return map(JSON_ENCODER.encode_lines, map(table.rows, blocks))
    from gateway.formats import arrow_encoding  # noqa: PLC0415 - pyarrow takes 36 MB

    encoders = {
        "csv": arrow_encoding.csv_blocks,
        "arrow": arrow_encoding.arrow_blocks,
        "parquet": arrow_encoding.parquet_blocks,
    }
    return encoders[format_name](table, blocks)


def _json_blocks(table: ArrowTable[T], blocks: Iterable[T]) -> Iterator[bytes]:
    separator = b"["
    for block in blocks:
        if rows := table.rows(block):
            yield separator + JSON_ENCODER.encode(rows)[1:-1]
            separator = b","
    yield b"[]" if separator == b"[" else b"]"
