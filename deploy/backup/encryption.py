"""Encrypts files in authenticated chunks (AES-256-GCM), so that a changed, cut or foreign file is refused.

A file has a header (format, key id, salt) and chunks of 1 MiB. Its key is derived from the backups' key and
the salt (HKDF-SHA256); the nonce has the number of the chunk and whether it is the last one (the STREAM
construction of Hoang et al. 2015). The file's label is authenticated, so that no file stands in for another.
"""

from __future__ import annotations

import io
import os
import secrets
from typing import IO, TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from deploy.errors import DeployError

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = b"towntwin-backup-1\n"
KEY_BYTES, SALT_BYTES, KEY_ID_BYTES, TAG_BYTES = 32, 32, 8, 16
CHUNK_BYTES = 1 << 20
HEADER_BYTES = len(FORMAT) + KEY_ID_BYTES + SALT_BYTES


class BackupError(DeployError):
    """A backup can't be made, read or restored; the message gives the cause and the remedy."""


def create_key(path: Path) -> None:
    """Write a new random key (64 hexadecimal digits) to a file that only its owner may read.

    Raises
    ------
    BackupError
        If the file exists: without their key the earlier backups can't be read.

    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise BackupError(
            f"{path} exists: earlier backups can only be read by it, so it is not replaced"
        ) from None
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(KEY_BYTES) + "\n")


def read_key(path: Path) -> bytes:
    """Return the key of a file.

    Raises
    ------
    BackupError
        If it is missing, readable by other users, or no key.

    """
    try:
        if path.stat().st_mode & 0o077:
            raise BackupError(f"{path} can be read by other users: chmod 600 {path}")
        key = bytes.fromhex(path.read_text("ascii").strip())
    except OSError as error:
        raise BackupError(f"the key of the backups can't be read: {path}: {error.strerror}") from error
    except ValueError as error:
        raise BackupError(f"{path} is no key of backups: it has 64 hexadecimal digits") from error
    if len(key) != KEY_BYTES:
        raise BackupError(f"{path} is no key of backups: it has 64 hexadecimal digits")
    return key


class EncryptingWriter(io.RawIOBase):
    """A binary file that encrypts what is written to it; it is complete only after `close`."""

    def __init__(self, file: IO[bytes], key: bytes, label: str) -> None:
        super().__init__()
        salt = secrets.token_bytes(SALT_BYTES)
        header = FORMAT + _key_id(key) + salt
        self._file, self._buffer, self._number = file, bytearray(), 0
        self._cipher, self._associated = _cipher(key, salt), header + label.encode()
        file.write(header)

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Encrypt and write all chunks that are full and not the last."""
        self._buffer += data
        while len(self._buffer) > CHUNK_BYTES:
            self._write_chunk(bytes(self._buffer[:CHUNK_BYTES]), is_last=False)
            del self._buffer[:CHUNK_BYTES]
        return len(data)

    def close(self) -> None:
        """Write the last chunk; the file below stays open."""
        if not self.closed:
            self._write_chunk(bytes(self._buffer), is_last=True)
        super().close()

    def _write_chunk(self, chunk: bytes, *, is_last: bool) -> None:
        self._file.write(self._cipher.encrypt(_nonce(self._number, is_last=is_last), chunk, self._associated))
        self._number += 1


class DecryptingReader(io.RawIOBase):
    """A binary file that returns the content of an encrypted one, only after it was authenticated.

    Raises
    ------
    BackupError
        Here for a foreign file or another key; on reading if the file was changed or cut.

    """

    def __init__(self, path: Path, file: IO[bytes], key: bytes, label: str) -> None:
        super().__init__()
        header = file.read(HEADER_BYTES)
        if len(header) < HEADER_BYTES or not header.startswith(FORMAT):
            raise BackupError(f"{path} is no encrypted backup of this version of towntwin, or it was cut off")
        salt = header[-SALT_BYTES:]
        if header[len(FORMAT) : -SALT_BYTES] != _key_id(key):
            raise BackupError(
                f"{path} was encrypted by another key: name the key file of that time (--key-file)"
            )
        self._path, self._file, self._number = path, file, 0
        self._cipher, self._associated = _cipher(key, salt), header + label.encode()
        self._next = file.read(CHUNK_BYTES + TAG_BYTES)
        self._chunk, self._is_ended = memoryview(b""), False

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer with the next bytes; return their number, 0 at the end."""
        while not self._chunk and not self._is_ended:
            self._read_chunk()
        count = min(len(buffer), len(self._chunk))
        buffer[:count] = self._chunk[:count]
        self._chunk = self._chunk[count:]
        return count

    def _read_chunk(self) -> None:
        chunk, self._next = self._next, self._file.read(CHUNK_BYTES + TAG_BYTES)
        self._is_ended = not self._next
        try:
            content = self._cipher.decrypt(
                _nonce(self._number, is_last=self._is_ended), chunk, self._associated
            )
        except (InvalidTag, ValueError):
            raise BackupError(
                f"{self._path} was changed or cut off after it was written (chunk {self._number + 1}): use"
                " another copy, or an earlier backup"
            ) from None
        self._chunk = memoryview(content)
        self._number += 1


def _cipher(key: bytes, salt: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), KEY_BYTES, salt, b"towntwin backup file").derive(key))


def _key_id(key: bytes) -> bytes:
    return HKDF(SHA256(), KEY_ID_BYTES, None, b"towntwin backup key id").derive(key)


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([is_last])
