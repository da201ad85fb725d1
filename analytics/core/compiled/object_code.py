"""Loads the machine code of an object file into memory, as a linker and a loader would, without a library.

An object file of Numba's compiler for x86-64 has one function, its constants, and one kind of relocation:
the absolute address of a constant, or of a function of the C library, in 64 bits (large code model). The
names below are those of the ELF-64 object file format and of the System V ABI for AMD64, section 4.4.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import NamedTuple

import numpy as np

from analytics.errors import AnalyticsError

MAGIC = b"\x7fELF\x02\x01\x01"  # 64 bits, little-endian, version 1
HEADER = np.dtype("S16, <u2, <u2, <u4, 2<u8, <u8, <u4, 4<u2, <u2, <u2")
HEADER.names = (
    *("identification", "type", "machine", "version", "entry_and_programs", "sections", "flags"),
    *("sizes", "section_count", "section_names"),
)
SECTION = np.dtype("<u4, <u4, <u8, <u8, <u8, <u8, <u4, <u4, <u8, <u8")
SECTION.names = (
    *("name", "type", "flags", "address", "offset", "size", "link", "info"),
    *("alignment", "entry_size"),
)
SYMBOL = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
RELOCATION = np.dtype([("offset", "<u8"), ("type", "<u4"), ("symbol", "<u4"), ("addend", "<i8")])
EM_X86_64, R_X86_64_64 = 62, 1
SHT_SYMTAB, SHT_RELA, SHT_NOBITS, SHF_ALLOC = 2, 4, 8, 2
SHN_UNDEF, STT_FUNC = 0, 2


class ObjectCodeError(AnalyticsError):
    """The machine code can't be used; the message tells why, and the caller compiles it anew."""


class LoadedFunction(NamedTuple):
    """A function in memory: its address, and the memory, which has to be kept as long as it is called."""

    address: int
    memory: mmap.mmap


def load_function(object_file: bytes) -> LoadedFunction:
    """Return the only function of an object file, in executable memory with its addresses filled in.

    Raises
    ------
    ObjectCodeError
        If the file is of another kind, or has a relocation or a symbol that is not known here.

    """
    try:
        return _load(object_file)
    except (ValueError, IndexError) as error:  # of a file that is cut off
        raise ObjectCodeError(f"the file of machine code is damaged ({error}): delete it") from error


def _load(object_file: bytes) -> LoadedFunction:
    header = np.frombuffer(object_file, HEADER, 1)[0]
    if not object_file.startswith(MAGIC) or header["machine"] != EM_X86_64:
        raise ObjectCodeError("the file of machine code is no object file for x86-64: delete it")
    sections = np.frombuffer(object_file, SECTION, header["section_count"], int(header["sections"]))
    (table,) = sections[sections["type"] == SHT_SYMTAB]
    symbols = _entries(object_file, table, SYMBOL)
    names = _bytes(object_file, sections[table["link"]])
    offsets, size = _layout(sections)
    memory = mmap.mmap(-1, size)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for at, offset in offsets.items():
        content = _bytes(object_file, sections[at])
        memory[offset : offset + len(content)] = content
    for relocations in sections[sections["type"] == SHT_RELA]:
        at = int(relocations["info"])
        for one in _entries(object_file, relocations, RELOCATION) if at in offsets else ():
            if one["type"] != R_X86_64_64:
                raise ObjectCodeError(f"the machine code has relocations of type {one['type']}: report it")
            symbol = symbols[one["symbol"]]
            value = (
                _library_function(names, int(symbol["name"]))
                if symbol["section"] == SHN_UNDEF
                else base + offsets[int(symbol["section"])] + int(symbol["value"])
            )
            target = offsets[at] + int(one["offset"])
            memory[target : target + 8] = (value + int(one["addend"])).to_bytes(8, "little")
    (function,) = symbols[(symbols["info"] & 0xF == STT_FUNC) & (symbols["section"] != SHN_UNDEF)]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(base), ctypes.c_size_t(size), mmap.PROT_READ | mmap.PROT_EXEC):
        raise ObjectCodeError("the system forbids executable memory (mprotect): the judge needs it")
    return LoadedFunction(base + offsets[int(function["section"])] + int(function["value"]), memory)


def _layout(sections: np.ndarray) -> tuple[dict[int, int], int]:
    """Return the offset in memory of each section that is loaded, and the size of all."""
    offsets: dict[int, int] = {}
    size = 0
    for at in np.flatnonzero(sections["flags"] & SHF_ALLOC).tolist():
        if sections[at]["type"] == SHT_NOBITS:
            raise ObjectCodeError("the machine code has variables: report it")
        alignment = max(1, int(sections[at]["alignment"]))
        offsets[at] = -(-size // alignment) * alignment
        size = offsets[at] + int(sections[at]["size"])
    return offsets, size


def _bytes(object_file: bytes, section: np.void) -> bytes:
    return object_file[int(section["offset"]) :][: int(section["size"])]


def _entries(object_file: bytes, section: np.void, kind: np.dtype) -> np.ndarray:
    return np.frombuffer(_bytes(object_file, section), kind)


def _library_function(names: bytes, at: int) -> int:
    """Return the address of a function of the C library, which has the same `log` as for Numba."""
    name = names[at : names.index(b"\0", at)].decode()
    try:
        return ctypes.cast(ctypes.CDLL(None)[name], ctypes.c_void_p).value or 0
    except AttributeError as error:
        raise ObjectCodeError(f"the machine code calls {name}, which no library has: report it") from error
