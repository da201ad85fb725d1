"""Calls the compiled kernel as machine code, for which neither Numba nor LLVM is in memory.

Numba's calling convention (its module `numba.core.callconv`): a function returns a status, zero for success,
and writes its result where the first argument points. An array is passed as its owner and parent (both NULL),
its number of elements, the bytes of one, its address, shape and strides; a tuple as its elements.
"""

from __future__ import annotations

import ctypes
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analytics.core.compiled import object_code
from analytics.core.compiled.object_code import ObjectCodeError
from analytics.core.state import State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

OWNER_AND_PARENT = (0, 0)


class ArrayKind(NamedTuple):
    """Type of an argument: NumPy's short name of the elements, and the number of dimensions."""

    elements: str
    dimensions: int


INTS, FLOATS, ROWS = ArrayKind("i8", 1), ArrayKind("f8", 1), ArrayKind("f8", 2)
STATE = tuple(ArrayKind(one.dtype.str[1:], one.ndim) for one in State.empty(0).arrays().values())
RESULTS = (ArrayKind("u1", 1), ArrayKind("u2", 1), *4 * (ArrayKind("f4", 1),))
ARGUMENTS: dict[str, tuple[ArrayKind | tuple[ArrayKind, ...], ...]] = {
    "is_in_order": (INTS, FLOATS, FLOATS),
    "judge_block": (
        *(INTS, FLOATS, FLOATS, ROWS, ArrayKind("f8", 4), INTS),
        *(STATE, RESULTS, ROWS, ROWS, INTS),
    ),
}
"""Types of the arguments of the functions of `analytics.core.compiled.kernel`."""


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
        self._expected = [(np.dtype(one.elements).str, one.dimensions) for one in kinds]
        self._loaded = object_code.load_function(object_file)
        n_arguments = 2 + sum(5 + 2 * one.dimensions for one in kinds)
        prototype = ctypes.CFUNCTYPE(ctypes.c_int32, *n_arguments * (ctypes.c_ssize_t,))
        self._call = prototype(self._loaded.address)

    def __call__(self, *arguments: Any) -> tuple[int, int, int]:
        """Return the three words of the result.

        Raises
        ------
        TypeError
            If an array has another type, or is not writable and in C order: the code would read elsewhere.

        """
        arrays: Sequence[NDArray[Any]] = _flat(arguments, None)
        words: list[int] = []
        for one, expected in zip(arrays, self._expected, strict=True):
            described = one.__array_interface__
            if (described["typestr"], one.ndim) != expected or not one.flags.carray:
                raise TypeError(f"{self._name} takes {expected} in C order, not {described}")
            words += (
                *OWNER_AND_PARENT,
                one.size,
                one.itemsize,
                described["data"][0],
                *one.shape,
                *one.strides,
            )
        result, error = (ctypes.c_int64 * 3)(), ctypes.c_void_p()
        status = self._call(ctypes.addressof(result), ctypes.addressof(error), *words)
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
