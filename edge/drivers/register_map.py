"""Register maps of Modbus instruments: loads them from TOML, groups registers to requests, decodes values.

The conventions are those of Telegraf's modbus plugin (function 3 or 4, byte orders ABCD, DCBA, BADC, CDAB,
types, scale), with one more: ``base``, the number that a manual gives to the first register.
"""

from __future__ import annotations

import math
import struct
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from edge.drivers.driver_options import DriverOptionsError, convert_options
from edge.drivers.float32 import shortest_float32

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FOLDER = Path(__file__).parent / "register_maps"
MAX_REGISTERS = 125  # of one request, Modbus application protocol 1.1b3, 6.3 and 6.4
MAX_HOLE = 50  # registers read in vain between two neighbours; an answer of 50 takes 0.1 s at 9600 baud
FORMATS = {
    "INT8L": "b", "INT8H": "b", "UINT8L": "B", "UINT8H": "B", "INT16": "h", "UINT16": "H", "INT32": "i",
    "UINT32": "I", "INT64": "q", "UINT64": "Q", "FLOAT16": "e", "FLOAT32": "f", "FLOAT64": "d",
}  # fmt: skip
"""Type -> format of `struct`; the types of 8 bits are the low and the high byte of one register."""

ByteOrder = Literal["ABCD", "DCBA", "BADC", "CDAB"]
RegisterType = Literal[
    "INT8L", "INT8H", "UINT8L", "UINT8H", "INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64",
    "FLOAT16", "FLOAT32", "FLOAT64",
]  # fmt: skip
Function = Literal[3, 4]


class Register(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One value of an instrument.

    Attributes
    ----------
    name : channel, by default; a quantity's name where it is one
    number : of the first register, as printed in the manual
    type : how the registers are coded
    unit : unit of the value
    scale, offset : value = raw * scale + offset
    missing : raw values that mean that nothing was measured; NaN always does
    byte_order, function : of this register, where they differ from the map's
    optional : is read only if the options name its channel

    """

    name: str
    number: int
    type: RegisterType = "FLOAT32"
    unit: str | None = None
    scale: float = 1.0
    offset: float = 0.0
    missing: tuple[float, ...] = ()
    byte_order: ByteOrder | None = None
    function: Function | None = None
    optional: bool = False

    @property
    def length(self) -> int:
        """Number of registers of 16 bits."""
        return max(1, struct.calcsize(f">{FORMATS[self.type]}") // 2)


class RegisterMap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Registers of a model of instruments.

    Attributes
    ----------
    model : the instrument
    source : where the numbers are documented
    registers : the values
    function : 3, holding registers, or 4, input registers
    byte_order : ABCD is big-endian; DCBA little-endian; BADC and CDAB swap the bytes, or the registers
    base : number of the first register in the manual: 0, 1, 30001 or 40001
    start, stop : numbers of registers that are read with count 0 to start and to stop measuring
    settle_s : time from the start to the first valid value [s]

    """

    model: str
    source: str
    registers: tuple[Register, ...]
    function: Function = 3
    byte_order: ByteOrder = "ABCD"
    base: Literal[0, 1, 30001, 40001] = 0
    start: int | None = None
    stop: int | None = None
    settle_s: float = 0.0

    def __post_init__(self) -> None:
        """Check what the types do not."""
        names = [one.name for one in self.registers]
        twice = {name for name in names if names.count(name) > 1}
        if not names or twice:
            raise ValueError(f"give each register a name of its own; more than one has {sorted(twice)}")
        for one in self.registers:
            if not 0 <= self.address(one) <= 65_536 - one.length:
                raise ValueError(f"register {one.name!r}: number {one.number} with base {self.base} "
                                 "is outside the addresses 0 to 65,535")  # fmt: skip

    def address(self, register: Register) -> int:
        """Return the address on the wire of a register's first 16 bits."""
        return register.number - self.base

    def decode(self, register: Register, words: Sequence[int]) -> float | None:
        """Decode the registers of one value; None if it is missing.

        Parameters
        ----------
        register : of this map
        words : its 16-bit registers, in the order of their addresses

        Examples
        --------
        >>> sonde = RegisterMap(model="m", source="s", registers=(Register(name="ph", number=0),))
        >>> sonde.decode(sonde.registers[0], [0x40E0, 0x0000])
        7.0

        """
        raw = decode_words(words, register.type, register.byte_order or self.byte_order)
        exact = raw
        if register.type == "FLOAT32":
            raw = shortest_float32(raw)  # 7.32, not the 7.320000171661377 of the next 32-bit float
        if not math.isfinite(raw) or raw in register.missing or exact in register.missing:
            return None
        return raw * register.scale + register.offset


class RegisterBatch(msgspec.Struct, frozen=True):
    """Registers that are read by one request: function, first address, number of registers."""

    function: int
    address: int
    count: int
    registers: tuple[Register, ...]


def decode_words(words: Sequence[int], kind: RegisterType, byte_order: ByteOrder) -> float:
    """Decode 16-bit registers to a number.

    Examples
    --------
    >>> [decode_words(words, "INT32", order) for words, order in
    ...     (([1, 2], "ABCD"), ([2, 1], "CDAB"), ([0x0100, 0x0200], "BADC"), ([0x0200, 0x0100], "DCBA"))]
    [65538, 65538, 65538, 65538]

    """
    if byte_order in {"CDAB", "DCBA"}:
        words = words[::-1]
    data = struct.pack(f"{'<' if byte_order in {'BADC', 'DCBA'} else '>'}{len(words)}H", *words)
    if kind.endswith("8L"):
        data = data[1:]
    elif kind.endswith("8H"):
        data = data[:1]
    value: float = struct.unpack(f">{FORMATS[kind]}", data)[0]
    return value


def group_registers(
    register_map: RegisterMap, registers: Iterable[Register], *, max_hole: int = MAX_HOLE
) -> list[RegisterBatch]:
    """Group neighbouring registers to the requests that read them.

    Parameters
    ----------
    register_map : the map of the registers
    registers : those to be read
    max_hole : largest number of registers between two neighbours that are read in vain

    """
    batches: list[list[Register]] = []
    address = register_map.address

    def function_of(register: Register) -> int:
        return register.function or register_map.function

    first = end = 0
    for one in sorted(registers, key=lambda one: (function_of(one), address(one))):
        one_end = address(one) + one.length
        joins = batches and function_of(batches[-1][0]) == function_of(one)
        if joins and address(one) - end <= max_hole and max(end, one_end) - first <= MAX_REGISTERS:
            batches[-1].append(one)
            end = max(end, one_end)
        else:
            batches.append([one])
            first, end = address(one), one_end
    return [
        RegisterBatch(
            function=function_of(batch[0]),
            address=address(batch[0]),
            count=max(address(one) + one.length for one in batch) - address(batch[0]),
            registers=tuple(batch),
        )
        for batch in batches
    ]


def shipped_maps() -> list[str]:
    """Return the names of the maps that are shipped."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_map(name: str, folder: Path = Path()) -> RegisterMap:
    """Load a map by its name (``ysi_exo``), or by the path of a TOML file, relative to a folder.

    Raises
    ------
    DriverOptionsError
        If there is no such map, or if it is invalid.

    """
    path = folder / name if name.endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise DriverOptionsError(
            f"there is no register map {name!r}: use a path that ends in .toml, or one of "
            + ", ".join(shipped_maps())
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DriverOptionsError(f"register map {name!r} can't be read: {error}") from error
    return convert_options(content, RegisterMap, driver=f"modbus, register map {name}")
