"""Calls the compiled kernel as machine code, for which neither Numba nor LLVM is in memory.

Numba's calling convention (its module `numba.core.callconv`): a function returns a status, zero for success,
and writes its result where the first argument points. An array is passed as its owner and parent (both NULL),
its number of elements, the bytes of one, its address, shape and strides; a tuple as its elements.

The System V ABI for AMD64 (section 3.2.3) passes six integers in registers and the others on the stack, where
a large structure passed by value is, too. So the words beyond the registers are one structure here: ctypes
takes longer for two hundred integers than the kernel does for a thousand readings.
"""

from __future__ import annotations

import ctypes
import struct
import weakref
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from analytics.core.compiled import object_code
from analytics.core.compiled.object_code import ObjectCodeError
from analytics.core.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

OWNER, PARENT = 0, 0
WORD_BYTES = 8
REGISTER_WORDS = 4  # of the first array: two of six registers have the addresses of result and error
AnyArray: TypeAlias = "NDArray[Any]"


class ArrayKind(NamedTuple):
    """Type of an argument: NumPy's short name of the elements, and the number of dimensions."""

    elements: str
    dimensions: int


INTS, FLOATS, ROWS = ArrayKind("i8", 1), ArrayKind("f8", 1), ArrayKind("f8", 2)
STATE = tuple(ArrayKind(one.dtype.str[1:], one.ndim) for one in State.empty(0).arrays().values())
RESULTS = (ArrayKind("u1", 1), ArrayKind("u2", 1), ArrayKind("f4", 2))
ARGUMENTS: dict[str, tuple[ArrayKind | tuple[ArrayKind, ...], ...]] = {
    "is_in_order": (INTS, FLOATS, FLOATS),
    "judge_block": (
        *(INTS, FLOATS, FLOATS, ROWS, ArrayKind("f8", 4), INTS),
        *(STATE, RESULTS, ROWS, ROWS, INTS),
    ),
}
"""Types of the arguments of the functions of `analytics.core.compiled.kernel`."""


class ArrayArgument:
    """One array of a call: checks it, and encodes it as the words of Numba's calling convention.

    The words of the last array are kept, as the state and the limits are the same in most calls; it is
    referred to weakly, so that nothing lives longer by it.
    """

    def __init__(self, kind: ArrayKind) -> None:
        self._kind = kind
        self._dtype = np.dtype(kind.elements)
        self._pack = struct.Struct(f"{5 + 2 * kind.dimensions}q").pack
        self._last: tuple[Callable[[], AnyArray | None], bytes] = (lambda: None, b"")

    def encode(self, array: AnyArray) -> bytes:
        """Return the words of an array.

        Raises
        ------
        TypeError
            If it has another type, or is not writable and in C order: the code would read elsewhere.

        """
        last, words = self._last
        if last() is array:
            return words
        if array.dtype != self._dtype or array.ndim != self._kind.dimensions or not array.flags.carray:
            raise TypeError(f"the kernel takes {self._kind} in C order, not {array.__array_interface__}")
        memory: Any = array
        # Takes a fifth of the time of `__array_interface__`.
        address = ctypes.addressof(_NO_BYTES.from_buffer(memory))
        words = self._pack(OWNER, PARENT, array.size, array.itemsize, address, *array.shape, *array.strides)
        self._last = weakref.ref(array), words  # in one step, as other threads call, too
        return words


_NO_BYTES = ctypes.c_char * 0  # arrays may be empty


class MachineCodeFunction:
    """One function of the kernel.

    Parameters
    ----------
    name : of the function, a key of `ARGUMENTS`
    object_file : its machine code, as `analytics.core.compiled.compile_kernel` writes it

    """

    def __init__(self, name: str, object_file: bytes) -> None:
        kinds = _flat(ARGUMENTS[name], ArrayKind)
        self._name = name
        self._encoders = [ArrayArgument(one).encode for one in kinds]
        self._loaded = object_code.load_function(object_file)
        n_words = sum(5 + 2 * one.dimensions for one in kinds) - REGISTER_WORDS
        self._stack_words: Any = type(
            "StackWords", (ctypes.Structure,), {"_fields_": [("words", n_words * ctypes.c_int64)]}
        )
        self._call = ctypes.CFUNCTYPE(
            ctypes.c_int32, *2 * (ctypes.c_void_p,), *REGISTER_WORDS * (ctypes.c_int64,), self._stack_words
        )(self._loaded.address)

    def __call__(self, *arguments: Any) -> tuple[int, int, int]:
        """Return the three words of the result.

        Raises
        ------
        TypeError
            If an array is none of `ARGUMENTS`.

        """
        arrays = _flat(arguments, None)
        words = b"".join([encode(one) for encode, one in zip(self._encoders, arrays, strict=True)])
        result, error = (ctypes.c_int64 * 3)(), ctypes.c_void_p()
        status = self._call(
            ctypes.addressof(result),
            ctypes.addressof(error),
            *struct.unpack_from(f"{REGISTER_WORDS}q", words),
            self._stack_words.from_buffer_copy(words, REGISTER_WORDS * WORD_BYTES),
        )
        if status:
            raise ObjectCodeError(f"{self._name} ended with status {status}: report it")
        return result[0], result[1], result[2]


class MachineCodeKernel:
    """The functions of `analytics.core.compiled.kernel` as machine code.

    Parameters
    ----------
    object_files : by the name of the function

    """

    def __init__(self, object_files: Mapping[str, bytes]) -> None:
        self._is_in_order, self.judge_block = (
            MachineCodeFunction(name, object_files[name]) for name in ARGUMENTS
        )

    def is_in_order(self, series: NDArray[Any], time_s: NDArray[Any], last_time_s: NDArray[Any]) -> bool:
        """Whether readings are sorted by series and time, and later than the last one judged."""
        return bool(self._is_in_order(series, time_s, last_time_s)[0])


def _flat(items: Any, leaf: type | None) -> list[Any]:
    """Return the items, those of tuples among them one by one; ``leaf`` is a tuple that is an item."""
    return list(
        chain.from_iterable(
            one if isinstance(one, tuple) and not (leaf and isinstance(one, leaf)) else (one,)
            for one in items
        )
    )
