"""Encodes tables block by block, so that one block is sent before the next is read."""

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

    from gateway.forms import Form
    from gateway.tables import Table

T = TypeVar("T")
JSON = msgspec.json.Encoder()


def encoded(form: Form, table: Table[T], blocks: Iterable[T]) -> Iterator[bytes]:
    """The blocks of a table in a form, with as much of them in memory as one block takes."""
    writers = {"csv": _csv, "ndjson": _ndjson, "arrow": _arrow, "parquet": _parquet, "json": _json}
    return writers[form](table, blocks)


def _json(table: Table[T], blocks: Iterable[T]) -> Iterator[bytes]:
    before = b"["
    for block in blocks:
        if found := table.rows(block):
            yield before + JSON.encode(found)[1:-1]
            before = b","
    yield b"[]" if before == b"[" else b"]"


def _ndjson(table: Table[T], blocks: Iterable[T]) -> Iterator[bytes]:
    yield from map(JSON.encode_lines, map(table.rows, blocks))


def _csv(table: Table[T], blocks: Iterable[T]) -> Iterator[bytes]:
    yield ",".join(table.schema.names).encode() + b"\n"
    yield from map(_csv_of, map(table.batch, blocks))


def _csv_of(batch: pa.RecordBatch) -> bytes:
    words = pa.record_batch([_as_text(column) for column in batch.columns], batch.schema.names)
    sink = pa.BufferOutputStream()
    csv.write_csv(words, sink, csv.WriteOptions(include_header=False, quoting_style="needed"))
    text: bytes = sink.getvalue().to_pybytes()
    return text


def _as_text(column: pa.Array) -> pa.Array:
    """Times as RFC 3339, rules joined by ``|``; the rest as it is."""
    if pa.types.is_timestamp(column.type):
        naive = pc.local_timestamp(column).cast(pa.timestamp("ms"), safe=False)  # with a zone it is slow
        spaced = pc.utf8_replace_slice(naive.cast(pa.string()), 10, 11, "T")
        return pc.binary_join_element_wise(spaced, "Z", "")
    if pa.types.is_list(column.type):
        return pc.binary_join(column, "|")
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _arrow(table: Table[T], blocks: Iterable[T]) -> Iterator[bytes]:
    sink = _Sink()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        for batch in map(table.batch, blocks):
            writer.write_batch(batch)
            yield sink.taken()
    yield sink.taken()


def _parquet(table: Table[T], blocks: Iterable[T]) -> Iterator[bytes]:
    sink = _Sink()
    with pq.ParquetWriter(sink, table.schema, compression="zstd") as writer:
        for batch in map(table.batch, blocks):
            writer.write_batch(batch)
            yield sink.taken()
    yield sink.taken()


class _Sink(io.RawIOBase):
    """A file that hands over what was written since it was last asked."""

    def __init__(self) -> None:
        self._written: list[bytes] = []
        self._at = 0

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Keep a copy, for the writer may use its buffer again."""
        self._written.append(bytes(data))
        self._at += len(self._written[-1])
        return len(self._written[-1])

    def tell(self) -> int:
        """Bytes written so far."""
        return self._at

    def taken(self) -> bytes:
        """What was written since."""
        written, self._written = b"".join(self._written), []
        return written
