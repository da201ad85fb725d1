"""Encrypts and decrypts the content of HJ 212-2025 frames: SM4 in ECB mode, without padding.

Whole blocks of 16 bytes are encrypted and written as ``{0xE4,0x3E,…}``; a tail shorter than a block follows
as plain text. The checksum belongs to the plain segment, and the length field counts the plain segment.
Sources: HJ 212-2025; SM4: GB/T 32907-2016.
"""

from __future__ import annotations

import re

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from gateway.hj212.checksum import hj212_checksum
from gateway.hj212.errors import CipherError

BLOCK_BYTES = 16
KEY_BYTES = 16
_CONTENT_START = b"CP=&&"
_CONTENT_END = b"&&"
_CIPHER_TEXT = re.compile(rb"\{(0x[0-9A-Fa-f]{2}(?:,0x[0-9A-Fa-f]{2})*)\}", re.ASCII)


def decrypt_segment(segment: bytes, key: bytes, checksum: int) -> bytes:
    """Decrypt the content of a data segment and check the checksum of the plain text.

    Parameters
    ----------
    segment : data segment as received, with encrypted content
    key : key of the station, 16 bytes
    checksum : checksum of the frame

    Raises
    ------
    CipherError
        If the text is not in the form ``{0x…,0x…}``, not of whole blocks, or if the checksum does not fit.

    """
    head, start, content = segment.partition(_CONTENT_START)
    match = _CIPHER_TEXT.match(content)
    if not start or match is None or not content.endswith(_CONTENT_END):
        raise CipherError("the encrypted content is not of the form CP=&&{0x12,0x34,…}tail&&")
    encrypted = bytes(int(byte, 16) for byte in match[1].split(b","))
    if len(encrypted) % BLOCK_BYTES:
        raise CipherError(
            f"the encrypted content has {len(encrypted)} bytes: SM4 needs a multiple of {BLOCK_BYTES}"
        )
    decryptor = _cipher(key).decryptor()
    plain = decryptor.update(encrypted) + decryptor.finalize()
    decrypted = head + start + plain + content[match.end() :]
    if hj212_checksum(decrypted) != checksum:
        raise CipherError(
            f"the checksum {checksum:04X} does not fit the decrypted segment: the station has another key, or"
            " the frame is damaged"
        )
    return decrypted


def encrypt_segment(segment: bytes, key: bytes) -> bytes:
    """Encrypt the content of a data segment; a tail shorter than a block stays plain.

    >>> segment = b"ST=21;CN=2011;MN=A1;CP=&&DataTime=20260101000000;w01001-Rtd=7.1&&"
    >>> encrypted = encrypt_segment(segment, b"0" * 16)
    >>> encrypted.startswith(b"ST=21;CN=2011;MN=A1;CP=&&{0x")
    True
    >>> decrypt_segment(encrypted, b"0" * 16, hj212_checksum(segment)) == segment
    True
    """
    head, start, content = segment.partition(_CONTENT_START)
    if not start or not content.endswith(_CONTENT_END):
        raise CipherError("the data segment has no content to encrypt: it needs CP=&&…&&")
    plain = content[: -len(_CONTENT_END)]
    whole = len(plain) // BLOCK_BYTES * BLOCK_BYTES
    if not whole:
        return segment
    encryptor = _cipher(key).encryptor()
    encrypted = encryptor.update(plain[:whole]) + encryptor.finalize()
    written = b",".join(b"0x%02X" % byte for byte in encrypted)
    return b"%s%s{%s}%s%s" % (head, start, written, plain[whole:], _CONTENT_END)


def _cipher(key: bytes) -> Cipher[modes.ECB]:
    if len(key) != KEY_BYTES:
        raise CipherError(f"the key has {len(key)} bytes: SM4 needs {KEY_BYTES}")
    # ECB is what the standard prescribes, although it does not conceal the repetition of blocks.
    return Cipher(algorithms.SM4(key), modes.ECB())  # noqa: S305
