"""Prefetching in compiled code: asks the processor for memory that is needed soon, without waiting for it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from analytics.core.compiled import constants as k
from analytics.core.compiled.constants import NUMBA_AVAILABLE, inlined_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray


def prefetch(array: NDArray[Any], row: Any, element: Any) -> None:
    """Ask for the cache line of one element of a row, by its index in C order; Python itself does nothing."""


if NUMBA_AVAILABLE:
    # Without types of their own.
    names = ("llvmlite.ir", "numba.core.cgutils", "numba.types", "numba.extending")
    ir, cgutils, types, extending = map(import_module, names)
    _READ, _KEEP_IN_ALL_CACHES, _DATA = 0, 3, 1  # of LLVM's function

    @extending.intrinsic
    def _prefetch(_context, array, row, element):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = signature.args[0]
            struct = context.make_array(kind)(context, builder, arguments[0])
            begin = builder.mul(arguments[1], cgutils.unpack_tuple(builder, struct.strides)[0])
            n_bytes = cgutils.intp_t(context.get_abi_sizeof(context.get_data_type(kind.dtype)))
            offset = builder.add(begin, builder.mul(arguments[2], n_bytes))
            address = cgutils.pointer_add(builder, struct.data, offset, cgutils.voidptr_t)
            i32 = ir.IntType(32)
            call_type = ir.FunctionType(ir.VoidType(), [address.type, i32, i32, i32])
            function = cgutils.get_or_insert_function(builder.module, call_type, "llvm.prefetch.p0")
            builder.call(function, [address, i32(_READ), i32(_KEEP_IN_ALL_CACHES), i32(_DATA)])
            return context.get_dummy_value()

        return types.void(array, row, element), generate

    @extending.overload(prefetch, inline="always")
    def _overload(array, row, element):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, ARG001
        return lambda array, row, element: _prefetch(array, row, element)  # noqa: PLW0108 - Numba compiles it


@inlined_kernel
def prefetch_series(
    s: Any,
    profile_bin: tuple[int, int, float, int],
    r: NDArray[Any],
    p: NDArray[Any],
    daily: NDArray[Any],
    week: NDArray[Any],
) -> None:
    """Ask for what a reading of a series at about the same time needs, but for what is rare."""
    left, _, _, hour = profile_bin
    for column in range(0, k.ATTENUATED_VAR + k.LINE, k.LINE):
        prefetch(r, s, column)
    for column in range(0, k.N_LIMITS, k.LINE):
        prefetch(p, s, column)
    prefetch(daily, s, left * np.uintp(3))  # profile, spread and visits of a bin
    prefetch(week, s, hour)
