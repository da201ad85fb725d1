"""Compiles the kernel into its cache; `kernel_cache` runs it as a child process."""

from __future__ import annotations

import signal
import sys
import threading
from importlib import import_module
from typing import Any

import numpy as np

from analytics.core import judge
from analytics.core.compiled import kernel_cache
from analytics.core.compiled.machine_code import ARGUMENTS, ArrayKind, MachineCodeKernel
from analytics.core.compiled.object_code import ObjectCodeError
from analytics.core.parameters import Parameters
from analytics.core.state import State

NUMBA_MODULES = ("numba", "numba.core.compiler", "numba.core.registry", "numba.core.types")


def _end_with_input() -> None:
    """End the process at once when its standard input is closed, as it is at the end of its parent."""
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as unbuffered:
        unbuffered.read()
    signal.raise_signal(signal.SIGTERM)


def compile_to_object_file(name: str) -> bytes:
    """Compile a function of the kernel with Numba; return its machine code as an object file.

    The code is that of Numba's own decorator with the options of `constants.entry_kernel`. The functions with
    which Python would call it are left out, as they refer to Numba's library.
    """
    numba, compiler, registry, types = map(import_module, NUMBA_MODULES)  # an extra, without types of its own
    kernel = import_module("analytics.core.compiled.kernel")

    def type_of(kind: Any) -> Any:
        if isinstance(kind, ArrayKind):
            return types.Array(numba.from_dtype(np.dtype(kind.elements)), kind.dimensions, "C")
        return types.Tuple([type_of(one) for one in kind])

    flags: Any = compiler.Flags()
    flags.nrt, flags.error_model = False, "numpy"
    flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    context = registry.cpu_target
    compiled = compiler.compile_extra(
        context.typing_context,
        context.target_context,
        getattr(kernel, name).py_func,
        [type_of(one) for one in ARGUMENTS[name]],
        return_type=None,
        flags=flags,
        locals={},
    )
    library: Any = compiled.library
    code: bytes = library.codegen._tm.emit_object(library._final_module)  # noqa: SLF001 - as Numba's cache does
    return code


def check_machine_code(kernel: MachineCodeKernel) -> None:
    """Judge some readings with machine code and with NumPy, so that no other process meets a defect of it.

    The calling convention and the layout are internals of Numba: with a version that has others, this
    process may end by a signal, and nothing is cached.

    Raises
    ------
    ObjectCodeError
        If flags or expected values differ.

    """
    n_series, n_each = 3, 400
    series = np.repeat(np.arange(n_series), n_each)
    time_s = np.tile(1.7e9 + 300.0 * np.arange(n_each), n_series)
    value = 7.0 + np.sin(time_s / 13_751.0) + 0.1 * np.sin(np.arange(len(series)) ** 2)
    value[50::97], value[n_each + 200 : n_each + 260], value[2 * n_each + 30] = np.nan, 9.0, 1e9
    compiled, plain = (State.empty(n_series) for _ in range(2))
    parameters = Parameters.of(n_series, warm_up_s=3600.0, fail_high=100.0)
    if not kernel.is_in_order(series, time_s, compiled.last_time_s):
        raise ObjectCodeError("the machine code takes readings in order for others")
    ours = judge.judge_compiled(kernel, compiled, parameters, series, time_s, value)
    theirs = judge.judge(plain, parameters, series, time_s, value, use_compiled=False)
    if not all(
        np.allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-5, equal_nan=True)
        for name in ("quality", "rules", "expected", "spread", "score")
    ):
        raise ObjectCodeError("the machine code judges otherwise than NumPy")


def main() -> None:
    """Compile to object files on x86-64, and into Numba's cache elsewhere."""
    threading.Thread(target=_end_with_input, daemon=True).start()
    kernel_cache.COMPILES_HERE.set()
    if kernel_cache.uses_machine_code():
        object_files = {name: compile_to_object_file(name) for name in ARGUMENTS}
        check_machine_code(MachineCodeKernel(object_files))
        kernel_cache.write_machine_code(object_files)
    else:
        judge.warm_up()


if __name__ == "__main__":
    main()
