"""Connects two pseudo-terminals crosswise: a serial line with an instrument at its other end."""

from __future__ import annotations

import os
import select
import threading
import tty
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def terminal_pair() -> Iterator[tuple[str, str]]:
    """Yield the paths of two terminals; what is written to one can be read from the other."""
    ends = [os.openpty(), os.openpty()]
    for _, terminal in ends:
        tty.setraw(terminal)
    (first, _), (second, _) = ends
    stopping, stop = os.pipe()

    def relay() -> None:
        other = {first: second, second: first}
        while True:
            ready, _, _ = select.select([first, second, stopping], [], [])
            if stopping in ready:
                return
            for one in ready:
                os.write(other[one], os.read(one, 4096))

    thread = threading.Thread(target=relay)
    thread.start()
    try:
        yield os.ttyname(ends[0][1]), os.ttyname(ends[1][1])
    finally:
        os.write(stop, b".")
        thread.join()
        for descriptor in (*ends[0], *ends[1], stopping, stop):
            os.close(descriptor)


@contextmanager
def serial_instrument(answer: Callable[[bytes], bytes]) -> Iterator[str]:
    """Yield the path of a terminal behind which an instrument answers what is written.

    Parameters
    ----------
    answer : all bytes received since the last answer -> answer, or nothing while the request is incomplete

    """
    instrument, terminal = os.openpty()
    tty.setraw(terminal)
    stopping, stop = os.pipe()

    def serve() -> None:
        received = b""
        while True:
            ready, _, _ = select.select([instrument, stopping], [], [])
            if stopping in ready:
                return
            received += os.read(instrument, 4096)
            reply = answer(received)
            if reply:
                received = b""
                os.write(instrument, reply)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield os.ttyname(terminal)
    finally:
        os.write(stop, b".")
        thread.join()
        for descriptor in (instrument, terminal, stopping, stop):
            os.close(descriptor)
