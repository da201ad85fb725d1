"""A driver for anything that can print: one SenML JSON pack a line.

``my_sensor.py | towntwin edge --area 330483-d1 --device wz-01`` makes any script an edge device.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, BinaryIO

from edge.drivers import Pack
from edge.wire import senml
from edge.wire.errors import PayloadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REFUSED_KEPT = 100


class Lines:
    r"""Packs from a binary stream of lines; a line that is no SenML is told in `refused` and stops nothing.

    Examples
    --------
    >>> import io
    >>> lines = Lines(io.BytesIO(b'[{"n":"ph","u":"pH","v":7.1}]\n'), clock=lambda: 1700000000.0)
    >>> [record.value for pack in lines.packs() for record in pack.records]
    [7.1]

    """

    def __init__(self, stream: BinaryIO, *, clock: Callable[[], float] = time.time) -> None:
        self._stream = stream
        self._clock = clock
        self.refused: list[str] = []

    def packs(self) -> Iterator[Pack]:
        """One pack a line, due at once; ends with the stream."""
        for number, line in enumerate(self._stream, start=1):
            if not line.strip():
                continue
            now_s = self._clock()
            try:
                records = senml.decode(line.strip(), content_type=senml.CONTENT_TYPE_JSON, now_s=now_s)
            except PayloadError as error:
                if len(self.refused) < REFUSED_KEPT:
                    self.refused.append(f"line {number}: {error}")
                continue
            yield Pack(due_s=now_s, records=records)
