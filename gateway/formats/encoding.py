"""Encodes tables as JSON, NDJSON, CSV, Arrow or Parquet, block by block in constant memory."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.formats.arrow_tables import ArrowTable
    from gateway.formats.negotiation import FormatName

T = TypeVar("T")
JSON_ENCODER = msgspec.json.Encoder()


def encode_blocks(format_name: FormatName, table: ArrowTable[T], blocks: Iterable[T]) -> Iterator[bytes]:
    """Yield the encoded blocks of a table in a format, with one block in memory at a time."""
    encoders = {
        "csv": _csv_blocks,
        "ndjson": _ndjson_blocks,
        "arrow": _arrow_blocks,
        "parquet": _parquet_blocks,
        "json": _json_blocks,
    }
    return encoders[format_name](table, blocks)


def _json_blocks(table: ArrowTable[T], blocks: Iterable[T]) -> Iterator[bytes]:
    separator = b"["
    for block in blocks:
        if rows := table.rows(block):
            yield separator + JSON_ENCODER.encode(rows)[1:-1]
            separator = b","
    yield b"[]" if separator == b"[" else b"]"


def _ndjson_blocks(table: ArrowTable[T], blocks: Iterable[T]) -> Iterator[bytes]:
    yield from map(JSON_ENCODER.encode_lines, map(table.rows, blocks))


def _csv_blocks(table: ArrowTable[T], blocks: Iterable[T]) -> Iterator[bytes]:
    yield ",".join(table.schema.names).encode() + b"\n"
    yield from map(_csv_bytes, map(table.batch, blocks))


def _csv_bytes(batch: pa.RecordBatch) -> bytes:
    text_batch = pa.record_batch([_as_text(column) for column in batch.columns], batch.schema.names)
    sink = pa.BufferOutputStream()
    csv.write_csv(text_batch, sink, csv.WriteOptions(include_header=False, quoting_style="needed"))
    text: bytes = sink.getvalue().to_pybytes()
    return text


def _as_text(column: pa.Array) -> pa.Array:
    """Return times as RFC 3339, rules joined by ``|``, other columns unchanged."""
    if pa.types.is_timestamp(column.type):
        naive = pc.local_timestamp(column).cast(pa.timestamp("ms"), safe=False)  # a zone is slow
        iso_text = pc.utf8_replace_slice(naive.cast(pa.string()), 10, 11, "T")
        return pc.binary_join_element_wise(iso_text, "Z", "")
    if pa.types.is_list(column.type):
        return pc.binary_join(column, "|")
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _arrow_blocks(table: ArrowTable[T], blocks: Iterable[T]) -> Iterator[bytes]:
    sink = _PendingBytes()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        for batch in map(table.batch, blocks):
            writer.write_batch(batch)
            yield sink.take_written()
    yield sink.take_written()


def _parquet_blocks(table: ArrowTable[T], blocks: Iterable[T]) -> Iterator[bytes]:
    sink = _PendingBytes()
    with pq.ParquetWriter(sink, table.schema, compression="zstd") as writer:
        for batch in map(table.batch, blocks):
            writer.write_batch(batch)
            yield sink.take_written()
    yield sink.take_written()


class _PendingBytes(io.RawIOBase):
    """Write-only file whose `take_written` returns the bytes written since its last call."""

    def __init__(self) -> None:
        self._written: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any) -> int:
        """Keep a copy of the data: the writer may reuse its buffer."""
        self._written.append(bytes(data))
        self._position += len(self._written[-1])
        return len(self._written[-1])

    def tell(self) -> int:
        """Bytes written so far."""
        return self._position

    def take_written(self) -> bytes:
        """Return the bytes written since the last call."""
        written, self._written = b"".join(self._written), []
        return written
