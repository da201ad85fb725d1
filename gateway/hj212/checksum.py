"""Computes the frame checksum of HJ 212 (annex A), and that of Modbus RTU, which some devices use instead."""

from __future__ import annotations

MAX_SEGMENT_BYTES = 4096  # the standard permits 1,024; stations in the field exceed it
_POLYNOMIAL = 0xA001
_INITIAL = 0xFFFF


def _shifted(register: int) -> int:
    for _ in range(8):
        register = (register >> 1) ^ _POLYNOMIAL if register & 1 else register >> 1
    return register


_TABLE = tuple(_shifted(byte) for byte in range(256))


def _steps() -> tuple[tuple[int, ...], ...]:
    """Return the contribution of a byte to the state by its distance from the end, modulo `_PERIOD`."""
    step = [value >> 8 for value in _TABLE]
    rows = [tuple(range(256))]
    while len(rows) < _PERIOD:
        rows.append(tuple(step[value] for value in rows[-1]))
    return tuple(rows)


_PERIOD = 8  # bytes: eight steps of the state give the state again
_WORD = 8 * _PERIOD  # bits
_STEP_0, _STEP_1, _STEP_2, _STEP_3, _STEP_4, _STEP_5, _STEP_6, _STEP_7 = _steps()


def hj212_checksum(segment: bytes) -> int:
    """Return the checksum of a data segment, 16 bits.

    HJ 212-2017 annex A: for each byte the register is replaced by (register >> 8) XOR byte, then shifted
    eight times with the polynomial A001. This differs from CRC-16/MODBUS, which keeps the low byte: eight
    bits of state are carried over, by a map that is linear over GF(2) and of order eight. So bytes whose
    distances from the end differ by a multiple of eight can be added (XOR) first.

    >>> f"{hj212_checksum(b'123456789'):04X}"
    '2F80'
    """
    if not segment:
        return _INITIAL
    length = len(segment)
    word = int.from_bytes(segment, "big") ^ (_INITIAL >> 8 << 8 * (length - 1))
    bits = 8 * length
    while bits > _WORD:  # add the upper half of the words to the lower one
        bits = (bits + 2 * _WORD - 1) // (2 * _WORD) * _WORD
        word = (word >> bits) ^ (word & ((1 << bits) - 1))
    b = word.to_bytes(_PERIOD, "little")
    return _TABLE[
        _STEP_0[b[0]] ^ _STEP_1[b[1]] ^ _STEP_2[b[2]] ^ _STEP_3[b[3]]
        ^ _STEP_4[b[4]] ^ _STEP_5[b[5]] ^ _STEP_6[b[6]] ^ _STEP_7[b[7]]
    ]  # fmt: skip


def modbus_checksum(segment: bytes) -> int:
    """Return CRC-16/MODBUS of a data segment in the byte order of Modbus: low byte in the high half.

    >>> f"{modbus_checksum(b'123456789'):04X}"
    '374B'
    """
    register = _INITIAL
    for byte in segment:
        register = (register >> 8) ^ _TABLE[(register ^ byte) & 0xFF]
    return (register & 0xFF) << 8 | register >> 8
