"""Computes the frame checksum of HJ 212 (annex A), and that of Modbus RTU, which some devices use instead."""

from __future__ import annotations

import numpy as np

MAX_SEGMENT_BYTES = 4096  # the standard permits 1,024; stations in the field exceed it
_POLYNOMIAL = 0xA001
_INITIAL = 0xFFFF


def _shifted(register: int) -> int:
    for _ in range(8):
        register = (register >> 1) ^ _POLYNOMIAL if register & 1 else register >> 1
    return register


_TABLE = tuple(_shifted(byte) for byte in range(256))


def _contributions() -> tuple[np.ndarray, np.ndarray]:
    """Return the contribution of a byte to the state by its distance from the end, and offsets of its rows.

    The annex drops the register's low byte at each step: eight bits of state are carried over, by a map
    that is linear over GF(2). The state is therefore the XOR of one table entry per byte, which NumPy reads
    at once.
    """
    step = np.array([value >> 8 for value in _TABLE], np.uint8)
    rows = np.empty((MAX_SEGMENT_BYTES + 1, 256), np.uint8)
    rows[0] = np.arange(256)
    for distance in range(1, MAX_SEGMENT_BYTES + 1):
        rows[distance] = step[rows[distance - 1]]
    return rows.ravel(), np.arange(MAX_SEGMENT_BYTES, -1, -1, dtype=np.int64) * 256


_CONTRIBUTION, _OFFSET = _contributions()


def hj212_checksum(segment: bytes) -> int:
    """Return the checksum of a data segment of at most `MAX_SEGMENT_BYTES`, 16 bits.

    HJ 212-2017 annex A: for each byte the register is replaced by (register >> 8) XOR byte, then shifted
    eight times with the polynomial A001. This differs from CRC-16/MODBUS, which keeps the low byte.

    >>> f"{hj212_checksum(b'123456789'):04X}"
    '2F80'
    """
    if not segment:
        return _INITIAL
    before_last = len(segment) - 1
    positions = _OFFSET[len(_OFFSET) - 1 - before_last : -1] + np.frombuffer(segment, np.uint8, before_last)
    state = int(np.bitwise_xor.reduce(_CONTRIBUTION.take(positions)))
    state ^= int(_CONTRIBUTION[before_last * 256 + (_INITIAL >> 8)])
    return _TABLE[state ^ segment[-1]]


class ChecksumOfEnding:
    """Computes checksums of segments that have the same ending, from the part before it alone.

    >>> of_ending = ChecksumOfEnding(b"56789")
    >>> f"{of_ending.checksum(b'1234'):04X}"
    '2F80'
    """

    def __init__(self, ending: bytes) -> None:
        last = len(ending) - 1
        self._last_byte = ending[last]
        self._row = last * 256
        self._state = 0
        for distance, byte in zip(range(last, 0, -1), ending[:last], strict=True):
            self._state ^= int(_CONTRIBUTION[distance * 256 + byte])

    def checksum(self, start: bytes) -> int:
        """Return the checksum of ``start`` followed by the ending."""
        register = _INITIAL
        for byte in start:
            register = _TABLE[(register >> 8) ^ byte]
        state = self._state ^ int(_CONTRIBUTION[self._row + (register >> 8)])
        return _TABLE[state ^ self._last_byte]


def modbus_checksum(segment: bytes) -> int:
    """Return CRC-16/MODBUS of a data segment in the byte order of Modbus: low byte in the high half.

    >>> f"{modbus_checksum(b'123456789'):04X}"
    '374B'
    """
    register = _INITIAL
    for byte in segment:
        register = (register >> 8) ^ _TABLE[(register ^ byte) & 0xFF]
    return (register & 0xFF) << 8 | register >> 8
