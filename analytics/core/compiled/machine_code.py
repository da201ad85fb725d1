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
import threading
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from analytics.core.compiled import object_code
from analytics.core.compiled.object_code import ObjectCodeError
from analytics.core.state import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

OWNER, PARENT = 0, 0
WORD_BYTES = 8
REGISTER_WORDS = 4  # of the first array: two of six registers have the addresses of result and error
AnyArray: TypeAlias = "NDArray[Any]"
_NO_BYTES = ctypes.c_char * 0  # arrays may be empty


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


class _Words(threading.local):
    """Arrays of the last call of this thread, and the words that stand for them.

    Words are written anew only for other arrays: the state, the limits and the buffers are the same in most
    calls. That the arrays are kept until the next call makes sure that no other has their identity.
    """

    def __init__(self, words: type[ctypes.Structure], n_arrays: int) -> None:
        self.words = words()
        self.arrays: list[AnyArray | None] = [None] * n_arrays


class MachineCodeFunction:
    """One function of the kernel.

    Parameters
    ----------
    name : of the function, a key of `ARGUMENTS`
    object_file : its machine code, as `analytics.core.compiled.compile_kernel` writes it

    """

    def __init__(self, name: str, object_file: bytes) -> None:
        kinds = [kind for one in ARGUMENTS[name] for kind in ([one] if isinstance(one, ArrayKind) else one)]
        n_words = [5 + 2 * one.dimensions for one in kinds]
        offsets = [WORD_BYTES * one for one in accumulate(n_words, initial=0)]
        self._name = name
        self._kinds = [
            (np.dtype(kind.elements), kind.dimensions, struct.Struct(f"{n}q").pack_into, offset)
            for kind, n, offset in zip(kinds, n_words, offsets, strict=False)
        ]
        on_stack = _structure(words=(sum(n_words) - REGISTER_WORDS) * ctypes.c_int64)
        all_words = _structure(in_registers=REGISTER_WORDS * ctypes.c_int64, on_stack=on_stack)
        self._local = _Words(all_words, len(kinds))
        self._loaded = object_code.load_function(object_file)
        self._call = ctypes.CFUNCTYPE(
            ctypes.c_int32, *2 * (ctypes.c_void_p,), *REGISTER_WORDS * (ctypes.c_int64,), on_stack
        )(self._loaded.address)

    def __call__(self, *arguments: AnyArray | tuple[AnyArray, ...]) -> tuple[int, int, int]:
        """Return the three words of the result.

        Raises
        ------
        TypeError
            If an array has another type than `ARGUMENTS`, or is not writable and in C order: the code would
            read elsewhere.

        """
        words, last = self._local.words, self._local.arrays
        arrays: list[AnyArray] = []
        for one in arguments:
            if isinstance(one, tuple):
                arrays += one
            else:
                arrays.append(one)
        for at, (array, (dtype, dimensions, pack_into, offset)) in enumerate(
            zip(arrays, self._kinds, strict=True)
        ):
            if array is last[at]:
                continue
            last[at] = None
            if array.dtype != dtype or array.ndim != dimensions or not array.flags.carray:
                raise TypeError(
                    f"the kernel takes {dtype} in {dimensions} dimensions and C order, not"
                    f" {array.__array_interface__}"
                )
            memory: Any = array
            # Takes a fifth of the time of `__array_interface__`.
            address = ctypes.addressof(_NO_BYTES.from_buffer(memory))
            pack_into(
                words,
                offset,
                OWNER,
                PARENT,
                array.size,
                array.itemsize,
                address,
                *array.shape,
                *array.strides,
            )
            last[at] = array
        result, error = (ctypes.c_int64 * 3)(), ctypes.c_void_p()
        status = self._call(
            ctypes.addressof(result), ctypes.addressof(error), *words.in_registers, words.on_stack
        )
        if status:
            raise ObjectCodeError(f"{self._name} ended with status {status}: report it")
        return result[0], result[1], result[2]


def _structure(**fields: Any) -> Any:
    return type("Structure", (ctypes.Structure,), {"_fields_": list(fields.items())})


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
