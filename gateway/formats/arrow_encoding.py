"""Encodes Arrow batches as CSV, Arrow or Parquet, block by block; imported at the first such response."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.formats.arrow_tables import ArrowTable

T = TypeVar("T")


def csv_blocks(table: ArrowTable[T], blocks: Iterable[T]) -> Iterator[bytes]:
    """Yield a line of names, then the rows of each block."""
    yield ",".join(table.load_schema().names).encode() + b"\n"
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


def arrow_blocks(table: ArrowTable[T], blocks: Iterable[T]) -> Iterator[bytes]:
    """Yield a stream of record batches."""
    sink = _PendingBytes()
    with pa.ipc.new_stream(sink, table.load_schema()) as writer:
        for batch in map(table.batch, blocks):
            writer.write_batch(batch)
            yield sink.take_written()
    yield sink.take_written()


def parquet_blocks(table: ArrowTable[T], blocks: Iterable[T]) -> Iterator[bytes]:
    """Yield a file with a row group of each block."""
    sink = _PendingBytes()
    with pq.ParquetWriter(sink, table.load_schema(), compression="zstd") as writer:
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
